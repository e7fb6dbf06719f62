"""A project's scales: what its annotators answer by."""
