"""Check texts, shorten them, and make them fit for a spreadsheet."""

from __future__ import annotations

_PHONE_LINE = 32  # characters


def is_storable(text: str) -> bool:
    """Return whether a database keeps it: no NUL, and no half of a surrogate pair."""
    try:
        text.encode()  # many times faster than a look at each character
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


def lines_on_a_phone(text: str) -> int:
    """Return about how many lines a text takes there."""
    return sum(1 + len(line) // _PHONE_LINE for line in text.split("\n"))


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text, at most 300 characters; its type's name where it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def spreadsheet_cell(text: str) -> str:
    """Return the text so that a spreadsheet takes it for no formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
