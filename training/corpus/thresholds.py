"""Several thresholds in one option: `0.20, 0.18, 0.16`."""

from __future__ import annotations


def numbers(text: str, count: int) -> tuple[float, ...] | None:
    """The numbers between the commas, or None when they are not `count` numbers from 0 up."""
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        return None
    return found if len(found) == count and all(value >= 0 for value in found) else None
