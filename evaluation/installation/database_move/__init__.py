"""Move all rows to another database, compared row by row, in one transaction: there all of them are, or none."""
