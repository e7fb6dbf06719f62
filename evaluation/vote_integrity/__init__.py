"""Votes unlike all others, which only many together show: held for review, and released."""
