"""Count the memory of a training stage before it starts: sizes, parts, and what fits where."""
