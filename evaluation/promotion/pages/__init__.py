"""Pages of the decision, and their addresses."""
