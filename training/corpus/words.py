"""Words and hashes of texts as the rules compare them: case, white space and punctuation make no difference."""

from __future__ import annotations

import hashlib
import re
import unicodedata
import zlib
from collections.abc import Sequence

import numpy as np

_WORD = re.compile(r"\w+")
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no power of it is 0 modulo 2^64


def plain_words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def digest(text: str) -> bytes:
    """16 bytes that equal documents share."""
    return hashlib.blake2b(" ".join(text.casefold().split()).encode("utf-8", "replace"), digest_size=16).digest()


def passages(words: Sequence[str], length: int) -> np.ndarray:
    """The hash of every run of `length` words, as uint64: a polynomial over the words' hashes, modulo 2^64."""
    hashed = np.fromiter((_word_hash(word) for word in words), dtype=np.uint64, count=len(words))
    count = len(words) - length + 1
    if count <= 0:
        return np.empty(0, dtype=np.uint64)
    found = np.zeros(count, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for place in range(length):
            found = found * _BASE + hashed[place : place + count]
    return found


def _word_hash(word: str) -> int:
    encoded = word.encode("utf-8", "replace")
    return zlib.crc32(encoded) << 32 | zlib.adler32(encoded)
