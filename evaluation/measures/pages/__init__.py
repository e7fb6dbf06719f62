"""Pages of evaluations, and their addresses."""
