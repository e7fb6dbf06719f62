"""Corpora: where texts may come from, by which rules they are cleaned, and what is told of it."""
