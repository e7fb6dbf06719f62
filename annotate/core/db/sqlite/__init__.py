"""Extend Django's SQLite by an orderly queue of those who write."""
