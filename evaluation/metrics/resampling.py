"""Draw items again with replacement: totals of many samples at once, and Efron's corrected interval from them.

Every metric is a function of sums, so a sample of items is one row of a matrix product and a leave-one-out value is a
subtraction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from statistics import NormalDist

import numpy as np

_CELLS = 1 << 22  # of the matrix of weights that is held at once
_ALIKE = 8  # items of one sort, on average, from which sorts are drawn and not items
_NORMAL = NormalDist()


def resampled_totals(counts: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Return totals of n items drawn with replacement: counts (n, k) -> totals (draws, k). The same seed draws the same
    samples.

    Where many items counted the same, as labels do, how often each sort is drawn is one multinomial.
    """
    n = len(counts)
    sorts, times = np.unique(counts, axis=0, return_counts=True)
    if len(sorts) * _ALIKE <= n:
        return np.random.default_rng(seed).multinomial(n, times / n, size=draws).astype(float) @ sorts
    return np.concatenate([weights @ counts for weights in _weights(n, draws, seed)])


def _weights(n: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Yield (draws, n) in pieces: how often each sample holds each item. Independent of what the items counted."""
    random = np.random.default_rng(seed)
    size = max(1, _CELLS // n)
    for start in range(0, draws, size):
        rows = min(size, draws - start)
        indices = random.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(indices.ravel(), minlength=rows * n).reshape(rows, n).astype(float)


def corrected_interval(
    value: float, samples: np.ndarray, left_out: np.ndarray, level: float = 0.95
) -> tuple[float, float]:
    """Return Efron's BCa interval (1987): percentiles of the samples, moved for bias and for skewness.

    `left_out` (n,) are the values without each item. Where nothing varies, both ends are the value.
    """
    samples = np.sort(samples[np.isfinite(samples)])
    if len(samples) == 0 or math.isclose(samples[0], samples[-1], rel_tol=1e-12, abs_tol=1e-15):
        return value, value
    below = ((samples < value).sum() + (samples == value).sum() / 2) / len(samples)
    bias = _NORMAL.inv_cdf(min(max(below, 0.5 / len(samples)), 1 - 0.5 / len(samples)))
    return (
        float(np.quantile(samples, _level(bias, left_out, (1 - level) / 2))),
        float(np.quantile(samples, _level(bias, left_out, (1 + level) / 2))),
    )


def _level(bias: float, left_out: np.ndarray, level: float) -> float:
    gaps = left_out.mean() - left_out
    spread = float((gaps**2).sum()) ** 1.5
    acceleration = float((gaps**3).sum()) / (6 * spread) if spread > 0 else 0.0
    z = bias + _NORMAL.inv_cdf(level)
    return _NORMAL.cdf(bias + z / (1 - acceleration * z))


def left_out_values(counts: np.ndarray, value: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return (n,) the metric's value without each of the items in turn."""
    return value(counts.sum(0) - counts)


def standard_deviation(samples: np.ndarray) -> float:
    finite = samples[np.isfinite(samples)]
    return float(finite.std(ddof=1)) if len(finite) > 1 else math.nan
