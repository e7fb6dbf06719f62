"""Read what the query of an address says."""

from __future__ import annotations


def row_id(text: str) -> int:
    """Return the id that the text says; 0, which no row has, for anything but a whole number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
