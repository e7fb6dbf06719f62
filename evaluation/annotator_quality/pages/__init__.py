"""Pages of annotators' quality, and their addresses."""
