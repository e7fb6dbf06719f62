"""Count the style of an answer, and compare two answers' counts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

FEATURES = ("length", "headers", "lists", "bold")

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})([^`\n]*)")
_HEADER = re.compile(r"^ {0,3}#{1,6}[ \t]+\S", re.MULTILINE)
_LIST = re.compile(r"^[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+\S", re.MULTILINE)
_BOLD = re.compile(r"\*\*(?=\S)[^*\n]*?[^*\s]\*\*|(?<!\w)__(?=\S)[^_\n]*?[^_\s]__(?!\w)")


@dataclass(frozen=True)
class Style:
    """Count, in one answer: characters (or tokens, where the caller counts them), Markdown headers, list items, bold
    runs."""

    length: int
    headers: int
    lists: int
    bold: int


def style_of(text: str) -> Style:
    """Return the style counts of a text. A code fence counts as length, but nothing in it is taken for Markdown.

    An unclosed fence reaches to the end. Bold is `**…**` or `__…__` in one line; a header, `#` to `######` and a space.
    """
    prose = "\n".join(_prose(text))
    return Style(len(text), *(len(pattern.findall(prose)) for pattern in (_HEADER, _LIST, _BOLD)))


def _prose(text: str) -> Iterator[str]:
    """Yield the lines outside code fences: one ends with a line of at least as many of its own marks (CommonMark,
    4.5)."""
    fence = ""
    for line in text.splitlines():
        mark = _FENCE.fullmatch(line)
        if fence:
            if mark and mark[1].startswith(fence) and not mark[2].strip():
                fence = ""
        elif mark:
            fence = mark[1]
        else:
            yield line


def differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return (first − second)/(first + second) of counts, 0 where both are 0: from −1 to 1 whatever the sizes.

    1/3 is twice as much, 1 is some against none. Raises ValueError on unequal shapes and on counts below 0.
    """
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if first.shape != second.shape or np.any(first < 0) or np.any(second < 0):
        raise ValueError("style counts of the two answers must be equally many, and none below 0.")
    total = first + second
    return np.divide(first - second, total, out=np.zeros_like(total), where=total > 0)
