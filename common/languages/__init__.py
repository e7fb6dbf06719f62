"""Languages: their tags, and their names in English."""
