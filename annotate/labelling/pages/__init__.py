"""The pages on which annotators work."""
