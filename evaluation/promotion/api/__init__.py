"""The decision for programs."""
