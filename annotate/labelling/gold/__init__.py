"""Use gold items, whose right answers are known, to measure annotators."""
