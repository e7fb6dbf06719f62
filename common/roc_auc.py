"""Measure how well a score separates two groups: the area under the ROC curve with an interval, and what a threshold
catches.

Needs numpy at most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.distributions import Z95
from common.intervals import wilson

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    value: float
    lower: float
    upper: float
    n: int


def auc(normal: Array, abnormal: Array) -> float:
    """Return the chance that an abnormal text scores above a normal one; equal scores count half (Mann-Whitney)."""
    order = np.sort(normal)
    below = np.searchsorted(order, abnormal, side="left")
    level = np.searchsorted(order, abnormal, side="right") - below
    return float((below + level / 2).sum() / (len(normal) * len(abnormal)))


def of_labels(scores: Array, positive: Array) -> float:
    """Return the chance that a positive scores above a negative; NaN when one of the two is missing."""
    is_positive = positive > 0
    if is_positive.all() or not is_positive.any():
        return float("nan")
    return auc(scores[~is_positive], scores[is_positive])


def with_interval(normal: Array, abnormal: Array) -> Estimate:
    """Return the AUC with Newcombe's method 5 (2006, 10.1002/sim.2324): all areas whose own standard error reaches the
    one found.

    DeLong's interval and the bootstrap's have no width where the groups do not overlap at all, as good detectors'
    often do not; this one has. It takes the two groups for independent, which for spoilt copies of the same texts
    makes it a little too wide.
    """
    value, m, n = auc(normal, abnormal), len(normal), len(abnormal)
    return Estimate(value, _end(value, m, n, -1.0), _end(value, m, n, 1.0), m + n)


def _end(value: float, m: int, n: int, direction: float) -> float:
    """Return the area, below or above `found`, that lies exactly `Z95` of its own standard errors away, by
    bisection."""
    inside, outside = value, 0.0 if direction < 0 else 1.0
    for _ in range(60):
        middle = (inside + outside) / 2
        if abs(middle - value) <= Z95 * math.sqrt(_variance(middle, m, n)):
            inside = middle
        else:
            outside = middle
    return inside


def _variance(theta: float, m: int, n: int) -> float:
    """Return the variance of an area `theta`, by Hanley and McNeil's form with both group sizes replaced by their mean
    (method 5)."""
    mean = (m + n) / 2 - 1
    spread = 1 + mean * ((1 - theta) / (2 - theta) + theta / (1 + theta))
    return theta * (1 - theta) * spread / (m * n)


def threshold(normal: Array, false_alarms: float = 0.05) -> float:
    """Return the score that at most this share of normal texts exceeds."""
    allowed = int(false_alarms * len(normal))
    return float(np.sort(normal)[len(normal) - allowed - 1])


def share_above(scores: Array, bound: float) -> Estimate:
    """Return the share of scores above a bound, with Wilson's interval."""
    n, right = len(scores), int((scores > bound).sum())
    return Estimate(right / n, *wilson(right, n), n)
