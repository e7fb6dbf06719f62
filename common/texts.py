"""Check and shorten texts, make them fit for a spreadsheet, write shares, and find names that nothing has yet."""

from __future__ import annotations

import itertools
from collections.abc import Callable

NOT_STORABLE = "It contains a null character, which cannot be stored; remove it."
LONGEST_NAME = 120  # characters, of runs, models and datasets
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


def percent(share: float, digits: int = 0) -> str:
    """Format a share, on all pages and in all texts alike: 0.523 -> 52 %"""
    return f"{100 * share:.{digits}f} %"


def first_free(
    stem: str,
    is_taken: Callable[[str], bool],
    form: str = "{} ({})",
    *,
    is_numbered: bool = False,
    longest: int = LONGEST_NAME,
) -> str:
    """Return the stem, or with the first number behind it that makes it free; cut so that the whole is not too long.

    `form` is how stem and number stand together. With `is_numbered` the stem alone will not do, and numbers begin at 1.
    """
    if not is_numbered and not is_taken(stem):
        return stem
    numbers = itertools.count(1 if is_numbered else 2)
    names = (form.format(stem[: longest - len(form.format("", number))], number) for number in numbers)
    return next(name for name in names if not is_taken(name))
