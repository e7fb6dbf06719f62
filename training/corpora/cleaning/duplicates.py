"""Equal and nearly equal documents, found with memory that does not grow: what was seen lies in the ledger on disk.

Equal: 16 bytes of a hash each. Nearly equal: a MinHash signature over shingles of words (datasketch), cut into
bands (locality-sensitive hashing; Broder 1997, Leskovec et al., Mining of Massive Datasets, ch. 3). Two documents with
a band in common are compared by their signatures. datasketch's own index would hold every signature in memory.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from datasketch import MinHash, MinHashLSH

from common.passages import plain_words
from training.corpora.cleaning.ledger import Ledger
from training.corpora.cleaning.rules import Verdict
from training.corpora.cleaning.text_hashes import digest

_SEED = 1  # of the permutations: the same on every machine, whatever the run's seed


@dataclass
class Exact:
    ledger: Ledger

    def judge(self, text: str) -> Verdict:
        return Verdict(text) if self.ledger.remember(digest(text)) else Verdict(text, "an equal text came before")


@dataclass
class Near:
    """Find near duplicates. `judge` also remembers what it lets through, so it must come last."""

    ledger: Ledger
    threshold: float
    words: int
    permutations: int
    _bands: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        # Bands and rows for this threshold. A pair missed is lost; a pair found for nothing only costs a comparison.
        chosen = MinHashLSH(threshold=self.threshold, num_perm=self.permutations, weights=(0.1, 0.9))
        self._bands = (chosen.b, chosen.r)
        self._empty = MinHash(self.permutations, seed=_SEED)

    def judge(self, text: str) -> Verdict:
        signature = self.signature(text)
        keys = self._keys(signature)
        for other, start in self.ledger.sharing(keys):
            similarity = float(np.mean(np.frombuffer(other, dtype=signature.dtype) == signature))
            if similarity >= self.threshold:
                return Verdict(text, "a nearly equal text came before", f"similarity {similarity:.2f} to “{start}…”")
        self.ledger.add_document(signature.tobytes(), keys, text[:80])
        return Verdict(text)

    def signature(self, text: str) -> np.ndarray:
        words = plain_words(text)
        count = max(len(words) - self.words + 1, 1)
        shingles = {" ".join(words[start : start + self.words]) for start in range(count)}
        run_directory = self._empty.copy()
        run_directory.update_batch([shingle.encode("utf-8", "replace") for shingle in shingles])
        return run_directory.hashvalues

    def _keys(self, signature: np.ndarray) -> list[int]:
        """Return one 64-bit key a band, of its number and its rows; two bands that collide only cost a comparison."""
        count, rows = self._bands
        return [
            int.from_bytes(
                hashlib.blake2b(
                    signature[band * rows : (band + 1) * rows].tobytes(), digest_size=8, salt=band.to_bytes(8, "big")
                ).digest(),
                "big",
                signed=True,
            )
            for band in range(count)
        ]
