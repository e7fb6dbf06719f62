"""Check texts."""

from __future__ import annotations


def is_storable(text: str) -> bool:
    """Return whether a database keeps it: no NUL, and no half of a surrogate pair."""
    return "\x00" not in text and not any("\ud800" <= c <= "\udfff" for c in text)
