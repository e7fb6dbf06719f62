"""Mark in two texts the words that only one of them has. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import groupby

MOST_WORDS = 800  # of a text: beyond it the comparison is slow, and nobody reads the marks
LEAST_SHARED = 0.1  # of all words: below it nearly everything would be marked, which says nothing
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Piece:
    """A part of a text, with the space after its words."""

    text: str
    is_marked: bool


@dataclass(frozen=True)
class Difference:
    """The two texts in pieces. Where `reason` is not empty nothing is marked, and it says why."""

    before: tuple[Piece, ...]
    after: tuple[Piece, ...]
    reason: str = ""


@lru_cache(maxsize=512)  # a live page asks again whenever anything on it changes
def difference(before: str, after: str) -> Difference:
    """Mark what is gone in `before` and what is new in `after`, word by word; space is not compared."""
    words = [_words(text) for text in (before, after)]
    if max(map(len, words)) > MOST_WORDS:
        return _unmarked(before, after, f"Differences are not marked in texts of more than {MOST_WORDS} words.")
    if not all(words):
        return _unmarked(before, after, "")
    matcher = SequenceMatcher(None, _texts(before, words[0]), _texts(after, words[1]), autojunk=False)
    if matcher.ratio() < LEAST_SHARED:
        return _unmarked(before, after, "Differences are not marked, because the texts have few words in common.")
    gone, new = [True] * len(words[0]), [True] * len(words[1])
    for block in matcher.get_matching_blocks():
        gone[block.a : block.a + block.size] = [False] * block.size
        new[block.b : block.b + block.size] = [False] * block.size
    return Difference(_pieces(before, words[0], gone), _pieces(after, words[1], new))


def _words(text: str) -> list[tuple[int, int]]:
    """Return where each word begins and ends; a sign of punctuation is a word."""
    return [match.span() for match in _WORD.finditer(text)]


def _texts(text: str, words: list[tuple[int, int]]) -> list[str]:
    return [text[start:end] for start, end in words]


def _pieces(text: str, words: list[tuple[int, int]], marked: list[bool]) -> tuple[Piece, ...]:
    """Return the text in runs of words that are marked alike. The space after a run's last word is never marked."""
    pieces, end = [], 0
    for is_marked, group in groupby(zip(words, marked, strict=True), key=lambda one: one[1]):
        spans = [span for span, _ in group]
        pieces += [Piece(text[end : spans[0][0]], False), Piece(text[spans[0][0] : spans[-1][1]], is_marked)]
        end = spans[-1][1]
    return tuple(piece for piece in (*pieces, Piece(text[end:], False)) if piece.text)


def _unmarked(before: str, after: str, reason: str) -> Difference:
    old, new = (tuple([Piece(text, False)] if text else []) for text in (before, after))
    return Difference(old, new, reason)
