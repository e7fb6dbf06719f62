"""Keep an installation as a whole: verify it, back it up, restore it, and move it to another database."""
