"""Read from the database what the whole installation does: which processes live, and what share of votes is held."""
