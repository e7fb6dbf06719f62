"""Feedback row by row: read, imported by ids, and its status changed."""
