"""Read texts row by row: files, Hub corpora, what Python carries. Knows neither Django nor torch."""
