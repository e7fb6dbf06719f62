"""Name the counts of a dataset for pages and model cards. Pure: no Django."""

from __future__ import annotations

_WORDS = {"judges": "annotators", "telling": "informative"}


def count_words(name: str) -> str:
    """Return how pages name a count of a dataset, which files and programs know by its key."""
    return _WORDS.get(name, name.replace("_", " "))
