"""Rows of a file become a frozen dataset."""
