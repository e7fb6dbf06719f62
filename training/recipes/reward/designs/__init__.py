"""Read pooled features as the matrix of a linear fit: whole in memory where they are few, else in blocks from files."""
