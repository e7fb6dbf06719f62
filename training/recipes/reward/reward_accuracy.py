"""Measure a score on held-out prompts: accuracy on pairs, AUC on thumbs, rank correlation on stars.

Each with a 95 % interval by bootstrap over prompts (answers to one prompt are not independent) and beside the null that
the longer answer is the better one. Arrays only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import roc_auc
from common.distributions import ROUNDED_Z95
from common.intervals import wilson
from training.recipes.reward import rao_kupper
from training.recipes.reward.feedback_likelihood import Observations

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Judged:
    """Held-out annotations as indices into N completions."""

    chosen: Index
    rejected: Index
    thumbed: Index
    thumbs: Array  # 1 up, 0 down
    starred: Index
    stars: Array
    tie_a: Index = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    tie_b: Index = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @classmethod
    def of(cls, o: Observations) -> Judged:
        tensors = (o.chosen, o.rejected, o.thumbed, o.thumbs, o.starred, o.stars.double(), o.tie_a, o.tie_b)
        return cls(*(t.numpy() for t in tensors))


@dataclass(frozen=True)
class Estimate:
    value: float
    lower: float  # 95 % interval; run pages and evaluations read these names
    upper: float
    n: int  # annotations
    prompts: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.lower:.3f}, {self.upper:.3f}], n = {self.n} on {self.prompts} prompts"


def pair_accuracy(chosen: Array, rejected: Array) -> float:
    """Return the share of pairs whose chosen answer scores higher; equal scores count half."""
    return float(np.mean((chosen > rejected) + 0.5 * (chosen == rejected)))


def spearman(a: Array, b: Array) -> float:
    """Return the rank correlation; NaN when either is constant, or holds a NaN."""
    if len(a) < 2 or np.isnan(a).any() or np.isnan(b).any():
        return float("nan")
    ranks_a, ranks_b = _ranks(a), _ranks(b)
    if ranks_a.min() == ranks_a.max() or ranks_b.min() == ranks_b.max():
        return float("nan")
    return float(np.corrcoef(ranks_a, ranks_b)[0, 1])


def _ranks(values: Array) -> Array:
    """Return ranks from 1, equal values sharing their mean: scipy's `rankdata` at a fifth of its time on hundreds.

    A bootstrap asks for them a thousand times.
    """
    _, value_index, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[value_index]


def bootstrap(
    statistic: Callable[[Index], float], prompts: Index, seed: int, resamples: int = 1000, floor: float | None = 0.0
) -> Estimate | None:
    """Return `statistic(rows)` with its percentile interval, whole prompts drawn anew. None when it cannot be computed.

    Where all draws agree, as on a few prompts that are all right, percentiles would claim certainty: then it is
    Wilson's interval with each prompt as one draw, on the statistic's range from `floor` to 1; no `floor`, no Wilson.
    """
    rows = np.arange(len(prompts))
    value = statistic(rows) if len(rows) else float("nan")
    if np.isnan(value):
        return None
    order = np.argsort(prompts, kind="stable")
    _, starts = np.unique(prompts[order], return_index=True)
    count, sizes = len(starts), np.diff(starts, append=len(rows))
    rng = np.random.default_rng(seed)
    draws = [
        statistic(order[_places(starts, sizes, rng.integers(count, size=count))]) for _ in range(resamples)
    ]  # fmt: skip
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    if low == high and floor is not None:
        low, high = (floor + (1 - floor) * p for p in wilson((value - floor) / (1 - floor) * count, count, ROUNDED_Z95))
    return Estimate(value, float(low), float(high), len(rows), count)


def _places(starts: Index, sizes: Index, drawn: Index) -> Index:
    """Return the places of the drawn clusters' rows, one cluster after another."""
    lengths = sizes[drawn]
    begins = np.cumsum(lengths) - lengths
    return np.repeat(starts[drawn] - begins, lengths) + np.arange(lengths.sum())


Statistic = Callable[[Array, Index], float]  # of scores (N,) and rows of the annotations


def _statistics(annotations: Judged) -> dict[str, tuple[Statistic, Index, float]]:
    """Return by name: the statistic, a completion of each of its annotations, and the least it can be."""
    c, r, t, s = annotations.chosen, annotations.rejected, annotations.thumbed, annotations.starred
    return {
        "pair_accuracy": (lambda scores, i: pair_accuracy(scores[c[i]], scores[r[i]]), c, 0.0),
        "thumbs_auc": (lambda scores, i: roc_auc.of_labels(scores[t[i]], annotations.thumbs[i]), t, 0.0),
        "stars_spearman": (lambda scores, i: spearman(scores[s[i]], annotations.stars[i]), s, -1.0),
    }


def measures(scores: Array, annotations: Judged, prompts: Index, seed: int) -> dict[str, Estimate | None]:
    """Return the measures of `scores` and `prompts`, (N,) each. Figures that the annotations do not allow are None."""
    return {
        name: bootstrap(partial(statistic, scores), prompts[rows], seed, floor=floor)
        for name, (statistic, rows, floor) in _statistics(annotations).items()
    }


def differences(
    scores: Array, other_scores: Array, annotations: Judged, prompts: Index, seed: int
) -> dict[str, Estimate | None]:
    """Return `measures` of the scores less those of the other scores, on the same annotations and in the same draws."""
    return {
        name: bootstrap(
            _less(partial(statistic, scores), partial(statistic, other_scores)), prompts[rows], seed, floor=None
        )
        for name, (statistic, rows, _) in _statistics(annotations).items()
    }


def _less(first: Callable[[Index], float], second: Callable[[Index], float]) -> Callable[[Index], float]:
    return lambda rows: first(rows) - second(rows)


def calibration(scores: Array, annotations: Judged, threshold: float, bins: int = 5) -> dict[str, Any]:
    """Return the calibration in bins of the expected share: when it expects p of a comparison, does it get p?

    Expected is the favourite's share of votes by the fitted likelihood, P(win) + P(tie) / 2
    (`training.recipes.reward.rao_kupper`); `threshold` is its tie parameter. `error` is the expected calibration error;
    `ties` the share of ties, expected and observed.
    """
    won, level = (
        scores[annotations.chosen] - scores[annotations.rejected],
        scores[annotations.tie_a] - scores[annotations.tie_b],
    )
    apart = np.abs(np.concatenate([won, level]))
    if not len(apart):
        return {"bins": [], "error": None, "ties": None}
    right = np.concatenate([(won > 0) + 0.5 * (won == 0), np.full(len(level), 0.5)])
    expected = rao_kupper.expected_points(apart, threshold)
    bin_index = np.minimum(((expected - 0.5) * 2 * bins).astype(int), bins - 1)
    rows = [_compared(expected[bin_index == k], right[bin_index == k]) for k in range(bins) if (bin_index == k).any()]
    error = sum(row["n"] * abs(row["predicted"] - row["observed"]) for row in rows) / len(apart)
    is_tie = np.concatenate([np.zeros(len(won)), np.ones(len(level))])
    return {
        "bins": rows,
        "error": float(error),
        "ties": _compared(rao_kupper.outcomes(apart, threshold).tie, is_tie),
    }


def _compared(expected: Array, observed: Array) -> dict[str, float]:
    return {"predicted": float(expected.mean()), "observed": float(observed.mean()), "n": len(observed)}


def as_rows(estimates: dict[str, Estimate | None]) -> dict[str, object]:
    """Return rows for result.json."""
    return {name: asdict(e) if e is not None else None for name, e in estimates.items()}
