"""Metrics as functions of sums: what each item counted is added up, and the value is a function of the totals.

Accuracy, perplexity, BLEU, F1: every corpus-level metric here has that form. So one interval, one paired comparison and
one resampling serve them all, and none is ever a mean of means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Totals = np.ndarray  # (..., k): sums over items, with any number of leading axes


@dataclass(frozen=True)
class Metric:
    """`value` maps totals (..., k) to values (...); `counts` names the k sums of one item."""

    name: str
    value: Callable[[Totals], np.ndarray]
    higher_is_better: bool
    counts: tuple[str, ...]
    is_share: bool = False  # shown as a percentage


def share(totals: Totals) -> np.ndarray:
    """The mean of per-item scores: (sum of scores, number of items)."""
    return totals[..., 0] / totals[..., 1]


def exponential(totals: Totals) -> np.ndarray:
    """Perplexity: (sum of negative log-likelihoods in nats, number of units)."""
    return np.exp(totals[..., 0] / totals[..., 1])


def bits(totals: Totals) -> np.ndarray:
    """Bits per unit: (sum of negative log-likelihoods in nats, number of units)."""
    return totals[..., 0] / totals[..., 1] / np.log(2)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("perplexity", exponential, False, ("loss", "tokens")),
        Metric("word perplexity", exponential, False, ("loss", "words")),
        Metric("byte perplexity", exponential, False, ("loss", "bytes")),
        Metric("bits per byte", bits, False, ("loss", "bytes")),
        Metric("accuracy", share, True, ("correct", "items"), is_share=True),
    )
}
