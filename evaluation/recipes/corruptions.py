"""Abnormal texts made from normal ones, and passages of one length cut from documents. Pure: neither torch nor numpy.

Every draw comes from the seed and the passage, so that the same passages are spoilt in the same way everywhere.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

_SENTENCE = re.compile(r"[^.!?\n]*[.!?\n]+|[^.!?\n]+$")
_WORD = re.compile(r"\S+")
_LONGEST_OVERSHOOT = 1.5


@dataclass(frozen=True)
class Passage:
    text: str
    source: str = ""


def passages(rows: Iterable[dict], length: int, most: int, seed: int) -> list[Passage]:
    """Return at most `most` passages of about `length` bytes, drawn by hash over all documents.

    Cut at line ends; what is shorter than half or longer than half as much again is no passage.
    """
    passage_by_text = {p.text: p for row in rows for p in _cut(row, length)}
    return sorted(passage_by_text.values(), key=lambda p: _digest(p.text, seed))[:most]


def _cut(row: dict, length: int) -> Iterator[Passage]:
    part = ""
    for line in row["text"].splitlines(keepends=True):
        part += line
        if _size(part) >= length:
            yield from _whole_passages(part, row, length)
            part = ""
    yield from _whole_passages(part, row, length)


def _whole_passages(part: str, row: dict, length: int) -> Iterator[Passage]:
    text = part.strip()
    if length / 2 <= _size(text) <= length * _LONGEST_OVERSHOOT:
        yield Passage(text, str(row.get("source") or ""))
    elif _size(text) > length:
        yield from (Passage(piece, str(row.get("source") or "")) for piece in _sliced(text, length))


def _sliced(text: str, length: int) -> Iterator[str]:
    """Yield a line that is too long by itself, at its words."""
    piece = ""
    for word in _WORD.findall(text):
        piece = f"{piece} {word}" if piece else word
        if _size(piece) >= length:
            if _size(piece) <= length * _LONGEST_OVERSHOOT:
                yield piece
            piece = ""
    if _size(piece) >= length / 2:
        yield piece


def _size(text: str) -> int:
    return len(text.encode())


def _digest(text: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {text}".encode()).digest()


def words_shuffled(text: str, draw: random.Random) -> str:
    """Return the words of each line in another order."""
    lines = []
    for line in text.split("\n"):
        words = line.split(" ")
        draw.shuffle(words)
        lines.append(" ".join(words))
    return "\n".join(lines)


def letters_swapped(text: str, draw: random.Random, share: float) -> str:
    """Swap two neighbouring letters in a share of the words, at least in one, as in hasty typing."""
    words = [m.span() for m in re.finditer(r"[^\W\d_]{4,}", text)]
    n_swaps = max(round(share * len(words)), 1)
    letters = list(text)
    for start, end in draw.sample(words, min(n_swaps, len(words))):
        indices = [i for i in range(start, end - 1) if letters[i] != letters[i + 1]]
        if indices:
            i = draw.choice(indices)
            letters[i], letters[i + 1] = letters[i + 1], letters[i]
    return "".join(letters)


def sentences_reversed(text: str, draw: random.Random) -> str:
    """Reverse the order of sentences. Each sentence is whole; the last comes first."""
    sentences = [s.strip() for s in _SENTENCE.findall(text) if s.strip()]
    return "\n".join(reversed(sentences))


def sentence_repeated(text: str, draw: random.Random) -> str:
    """Say one sentence again in the place of the one after it, as broken generators do."""
    sentences = _SENTENCE.findall(text)
    spoken = [i for i, s in enumerate(sentences[:-1]) if len(s.strip()) > 10]
    if not spoken:
        return text
    i = draw.choice(spoken)
    return "".join([*sentences[: i + 1], sentences[i], *sentences[i + 2 :]])


def stranger_inserted(text: str, draw: random.Random, strangers: list[str]) -> str:
    """Put another author's sentence in the place of one sentence."""
    sentences = _SENTENCE.findall(text)
    longest = max(range(len(sentences)), key=lambda i: len(sentences[i]))
    options = [s.strip() for s in _SENTENCE.findall(draw.choice(strangers)) if len(s.strip()) > 20]
    if not options:
        return text
    end = "\n" if sentences[longest].endswith("\n") else " "
    begin = "" if not sentences[longest][:1].isspace() else " "
    return "".join([*sentences[:longest], f"{begin}{draw.choice(options)}{end}", *sentences[longest + 1 :]]).strip()


def spoilt(normal: list[Passage], *, seed: int, share: float, strangers: list[str]) -> dict[str, list[tuple[int, str]]]:
    """Return by kind (which passage, its spoilt copy); a passage that a kind cannot change is not among them."""
    kinds: dict[str, Callable[[str, random.Random], str]] = {
        "words shuffled": words_shuffled,
        "letters swapped": lambda text, draw: letters_swapped(text, draw, share),
        "sentences reversed": sentences_reversed,
        "a sentence repeated": sentence_repeated,
    }
    if strangers:
        kinds["a stranger's sentence"] = lambda text, draw: stranger_inserted(text, draw, strangers)
    copies_by_kind: dict[str, list[tuple[int, str]]] = {}
    for kind, spoil in kinds.items():
        copies = []
        for i, passage in enumerate(normal):
            copy = spoil(passage.text, random.Random(f"{seed} {kind} {passage.text}"))
            if copy.split() != passage.text.split():
                copies.append((i, copy))
        copies_by_kind[kind] = copies
    return copies_by_kind
