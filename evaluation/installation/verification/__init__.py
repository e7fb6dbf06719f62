"""Verify that rows, the files that they name, and what is counted of them agree. Nothing is changed."""
