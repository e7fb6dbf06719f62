"""Find whether a text shares a passage with texts that it must keep away from: GPT-3's rule (Brown 2020, 2005.14165).

A passage is 13 words, case and punctuation aside. A shorter text counts as a whole from eight words on; below that it
cannot be told from a common phrase. Memory: eight bytes for each word of the texts kept away from. Pure: no Django.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

LENGTH = 13
FEWEST_WORDS = 8
_WORD = re.compile(r"\w+")
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no power of it is 0 modulo 2^64


@dataclass(frozen=True)
class Passages:
    """Sorted hashes of the passages of some texts, by the passages' length in words."""

    hashes: dict[int, np.ndarray]
    texts: int
    too_short: int

    def shared_with(self, text: str) -> str:
        """Return the first passage that `text` has in common with them; empty when there is none."""
        words = plain_words(text)
        for length, passage_hashes in self.hashes.items():
            hashes = hashes_of(words, length)
            indices = np.minimum(np.searchsorted(passage_hashes, hashes), len(passage_hashes) - 1)
            if (hits := np.flatnonzero(passage_hashes[indices] == hashes)).size:
                start = int(hits[0])
                return " ".join(words[start : start + length])
        return ""


def passages_of(texts: Iterable[str], length: int = LENGTH) -> Passages:
    """Return the passages of `length` words; at least one passage of every text that is long enough."""
    hashes_by_length: dict[int, list[np.ndarray]] = defaultdict(list)
    count = too_short = 0
    for text in texts:
        words = plain_words(text)
        count += 1
        if len(words) < min(FEWEST_WORDS, length):
            too_short += 1
            continue
        hashes_by_length[min(length, len(words))].append(hashes_of(words, min(length, len(words))))
    hashes = {size: np.unique(np.concatenate(arrays)) for size, arrays in sorted(hashes_by_length.items())}
    return Passages(hashes, count, too_short)


def plain_words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def hashes_of(words: Sequence[str], length: int) -> np.ndarray:
    """Return the hash of every run of `length` words, as uint64: a polynomial over the words' hashes, modulo 2^64."""
    hashed = np.fromiter((_word_hash(word) for word in words), dtype=np.uint64, count=len(words))
    count = len(words) - length + 1
    if count <= 0:
        return np.empty(0, dtype=np.uint64)
    hashes = np.zeros(count, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for offset in range(length):
            hashes = hashes * _BASE + hashed[offset : offset + count]
    return hashes


def _word_hash(word: str) -> int:
    encoded = word.encode("utf-8", "replace")
    return zlib.crc32(encoded) << 32 | zlib.adler32(encoded)
