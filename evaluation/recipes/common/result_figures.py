"""Figures of result.json that are means, shares and differences of what each item gave, each with its interval."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from common.distributions import student95
from common.intervals import wilson
from training.core.run_directory import Row

FEWEST = 2


def figure(
    value: float, error: float | None, lower: float | None, upper: float | None, n: int, higher: bool | None
) -> Row:
    return {
        "value": value, "standard_error": error, "lower": lower, "upper": upper, "n": n, "higher_is_better": higher,
    }  # fmt: skip


def share(right: NDArray, higher: bool | None = None) -> Row | None:
    """Return the share of zeros and ones, independent of each other, with Wilson's interval; None of nothing."""
    n = len(right)
    if not n:
        return None
    value = float(right.mean())
    return figure(value, math.sqrt(value * (1 - value) / n), *wilson(value * n, n), n, higher)


def mean(values: NDArray, higher: bool | None = None, low: float = -math.inf, high: float = math.inf) -> Row | None:
    """Return the mean of independent values within `low` to `high`, with Student's interval; None of fewer than two, or
    where they do not vary and so say nothing of how others would."""
    n = len(values)
    if n < FEWEST or np.ptp(values) == 0:
        return None
    value, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(n)
    reach = student95(n - 1) * error
    return figure(value, error, max(low, value - reach), min(high, value + reach), n, higher)
