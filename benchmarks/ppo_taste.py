"""The fixed reward of `benchmarks.ppo_vs_trl`: plain Python, because both contestants' environments run it."""

from __future__ import annotations

import re
from collections.abc import Sequence

FEWEST = 6


def short_words(prompts: object, completions: Sequence[str]) -> list[float]:
    """The share of words of at most four letters; under six words it falls to 0 with their number."""
    scores = []
    for text in completions:
        words = re.findall(r"[A-Za-z']+", text)
        share = sum(len(word) <= 4 for word in words) / max(1, len(words))
        scores.append(share * min(1.0, len(words) / FEWEST))
    return scores
