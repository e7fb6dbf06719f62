"""Check texts, shorten them, and make them fit for a spreadsheet."""

from __future__ import annotations

NOT_STORABLE = "It contains a null character, which cannot be stored; remove it."
_PHONE_LINE = 32  # characters


def is_storable(text: str) -> bool:
    """Return whether a database keeps it: no NUL, and no half of a surrogate pair."""
    try:
        text.encode()  # many times faster than a look at each character
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


def with_line_feeds(text: str) -> str:
    """Return the text with a line feed at the end of each line: a form of a browser sends CR LF."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def lines_on_a_phone(text: str) -> int:
    """Return about how many lines a text takes there."""
    return sum(1 + len(line) // _PHONE_LINE for line in text.split("\n"))


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text, at most 300 characters; its type's name where it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def spreadsheet_cell(text: str) -> str:
    """Return the text so that a spreadsheet takes it for no formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def time_left(seconds: float) -> str:
    """Return it in words, and not the hour when it will be over: nobody knows which clock is theirs."""
    if seconds < 90:
        return f"about {max(5, 5 * round(seconds / 5))} seconds left"
    minutes = round(seconds / 60)
    return f"about {minutes} minutes left" if minutes < 90 else f"about {round(minutes / 60)} hours left"
