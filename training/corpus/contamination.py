"""No document that shares a passage with what ranks models: GPT-3's rule (Brown et al. 2020, 2005.14165, appendix C).

A passage is 13 words, case and punctuation aside. A shorter evaluation text counts as a whole from eight words on;
below that it cannot be told from a common phrase. Memory: eight bytes for each word of the evaluation texts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from training.corpus.rules import Verdict
from training.corpus.words import passages, plain_words

FEWEST_WORDS = 8


@dataclass(frozen=True)
class EvaluationTexts:
    """Sorted hashes of their passages, by the passages' length in words."""

    hashes: dict[int, np.ndarray]
    texts: int
    too_short: int

    def judge(self, text: str) -> Verdict:
        words = plain_words(text)
        for length, known in self.hashes.items():
            found = passages(words, length)
            places = np.minimum(np.searchsorted(known, found), len(known) - 1)
            if (hits := np.flatnonzero(known[places] == found)).size:
                start = int(hits[0])
                return Verdict(text, "shares a passage", f"“{' '.join(words[start : start + length])}”")
        return Verdict(text)


def evaluation_texts(texts: Iterable[str], length: int) -> EvaluationTexts:
    """`length` words make a passage; at least one passage of every text that is long enough."""
    found: dict[int, list[np.ndarray]] = defaultdict(list)
    count = too_short = 0
    for text in texts:
        words = plain_words(text)
        count += 1
        if len(words) < min(FEWEST_WORDS, length):
            too_short += 1
            continue
        found[min(length, len(words))].append(passages(words, min(length, len(words))))
    hashes = {size: np.unique(np.concatenate(arrays)) for size, arrays in sorted(found.items())}
    return EvaluationTexts(hashes, count, too_short)
