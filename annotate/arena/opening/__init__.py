"""Open an arena from a file that names its project and its models."""
