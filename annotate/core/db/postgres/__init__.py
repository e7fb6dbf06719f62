"""Extend Django's Postgres by figures of how long one waits for it."""
