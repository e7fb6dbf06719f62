"""Extend the database: prepared queries, connections, and SQLite with an orderly queue of its writers."""
