"""Read numbers that somebody typed, or that a form, an address or a header carries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

T = TypeVar("T")
_ID_DIGITS = 18  # one less than the largest number of a database's big integer has, so that each fits


def whole_number(text: str, otherwise: T, *, digits: int = _ID_DIGITS) -> int | T:
    """Return the number that the text says in at most so many ASCII digits; `otherwise` for any other text.

    Never raises: `int` alone takes digits of other scripts, and refuses more than 4,300 of them.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= digits else otherwise


def row_id(text: str) -> int:
    """Return the id that the text says; 0, which no row has, for anything but a whole number."""
    return whole_number(text, 0)


def row_ids(texts: Iterable[str]) -> list[int]:
    """Return the ids that the texts say, in their order, without those that are no whole numbers."""
    numbers = (whole_number(text, None) for text in texts)
    return [number for number in numbers if number is not None]


def number_or_text(text: str, kind: type) -> Any:
    """Return the number, int or float, that the text says; what is none stays a text, for the action to refuse."""
    try:
        return kind(text)
    except ValueError:
        return text
