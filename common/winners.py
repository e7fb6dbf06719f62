"""Define the four words of a comparison: which of two answers is better, or neither."""

from __future__ import annotations

WINNERS = ("model_a", "model_b", "tie", "both_bad")
_SWAPPED = {"model_a": "model_b", "model_b": "model_a"}


def swapped(winner: str) -> str:
    """Return the word that says the same when the two answers have changed their positions."""
    return _SWAPPED.get(winner, winner)
