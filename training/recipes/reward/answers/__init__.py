"""Hold the annotated answers of a reward run as columns of numbers: a hundred thousand pairs are a few megabytes."""
