"""Test many differences at once, so that all verdicts together err seldom: the step-down max-T of Westfall and Young
(1993), by errors drawn from their joint distribution (`arm_ratings`).

The probability that any true "no difference" is called a difference is at most alpha: the family-wise error rate. A
common baseline makes differences alike, and the draws know how much. numpy only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from evaluation.experiments.arm_ratings import Combinations

AGAINST_BASELINE, ALL_PAIRS = "baseline", "pairs"


MOST_TIMES = 1024.0  # the votes: as many are as good as none that would do


@dataclass(frozen=True)
class FamilyResult:
    """Of each comparison its adjusted p value (K,), and the half width (K,) of intervals that hold all at once."""

    p: np.ndarray
    reach: np.ndarray

    def is_different(self, alpha: float) -> np.ndarray:
        return self.p <= alpha


def comparisons(arms: list[int], baseline: int, family: str) -> list[tuple[int, int]]:
    """Return (arm, other) of each comparison: every arm against the baseline, or every arm against every other."""
    if family == AGAINST_BASELINE:
        return [(arm, baseline) for arm in arms if arm != baseline]
    return [(b, a) for a, b in combinations(arms, 2)]


def compared(means: np.ndarray, pairs: list[tuple[int, int]]) -> np.ndarray:
    """Return (K, M) the weights of each comparison from those of the arms' means (A, M)."""
    return np.array([means[a] - means[b] for a, b in pairs]).reshape(len(pairs), means.shape[1])


def judged_at_once(of: Combinations, alpha: float) -> FamilyResult:
    """Return adjusted p values by the step-down max-T, and the reach of intervals that all hold at once with
    probability 1 − alpha. Each comparison is measured by its own 95 % reach, so that none counts for more."""
    if not len(of.value):
        return FamilyResult(np.zeros(0), np.zeros(0))
    scale = np.where(of.reach > 0, of.reach, 1.0)
    drawn, observed = np.abs(of.errors) / scale, np.abs(of.value) / scale
    order = np.argsort(-observed, kind="stable")
    most = np.maximum.accumulate(drawn[:, order[::-1]], axis=1)[:, ::-1]  # (D, K) of each comparison and those after it
    shares = (1 + (most >= observed[order]).sum(axis=0)) / (len(drawn) + 1)
    adjusted = np.empty(len(observed))
    adjusted[order] = np.maximum.accumulate(shares)  # never below an earlier p
    return FamilyResult(adjusted, scale * float(np.quantile(most[:, 0], 1 - alpha)))


def times_the_votes(differences: np.ndarray, reach: Callable[[float], np.ndarray]) -> list[float | None]:
    """Return, for each difference (K,), how many times the votes would tell it, if it stays what it is; None where a
    thousand times would not.

    `reach` gives the half widths (K,) with so many times the votes.
    """
    found: list[float | None] = [None] * len(differences)
    times, before = 1.0, reach(1.0)
    while times < MOST_TIMES and None in found:
        after = reach(2 * times)
        for k, difference in enumerate(np.abs(differences)):
            if found[k] is None and after[k] < difference:
                share = (before[k] - difference) / max(before[k] - after[k], 1e-12)
                found[k] = times * 2 ** min(max(float(share), 0.0), 1.0)
        times, before = 2 * times, after
    return found
