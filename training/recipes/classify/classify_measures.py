"""Measure a classifier on held-out texts: accuracy, F1, MCC, confusion and calibration, each with its interval.

Intervals are Wilson's for a share, else by bootstrap over texts (percentiles of 2,000 draws). Arrays only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common import intervals

Array = NDArray[np.float64]
Index = NDArray[np.int64]
_BINS = 10


@dataclass(frozen=True)
class Estimate:
    value: float
    lower: float  # 95 % interval; run pages and evaluations read these names
    upper: float
    n: int


def confusion(truth: Index, predicted: Index, classes: int) -> Index:
    """Return (K, K): rows are true labels, columns predicted ones."""
    return np.bincount(truth * classes + predicted, minlength=classes**2).reshape(classes, classes)


def wilson(right: float, n: int) -> Estimate:
    """Return a share with Wilson's interval (1927), which is never empty and never leaves 0 to 1."""
    return Estimate(right / n, *intervals.wilson(right, n), n)


def f1_by_class(tables: Index) -> Array:
    """Return (..., K) of confusions (..., K, K). A label that neither occurs nor is predicted counts as 0."""
    right = np.diagonal(tables, axis1=-2, axis2=-1)
    total = tables.sum(axis=-1) + tables.sum(axis=-2)
    return np.divide(2 * right, total, out=np.zeros(total.shape), where=total > 0)


def mcc(tables: Index) -> Array:
    """Return Matthews' correlation for any number of classes (Gorodkin 2004); 0 where either side is constant."""
    n = tables.sum(axis=(-2, -1)).astype(float)
    true, predicted = tables.sum(axis=-1).astype(float), tables.sum(axis=-2).astype(float)
    right = np.trace(tables, axis1=-2, axis2=-1)
    above = right * n - (true * predicted).sum(axis=-1)
    below = np.sqrt((n**2 - (true**2).sum(axis=-1)) * (n**2 - (predicted**2).sum(axis=-1)))
    return np.divide(above, below, out=np.zeros(np.shape(above)), where=below > 0)


def resampled(table: Index, seed: int, draws: int = 2000) -> Index:
    """Return (draws, K, K): confusions of resampled texts, which depend only on the counts of its cells."""
    tables = np.random.default_rng(seed).multinomial(int(table.sum()), table.ravel() / table.sum(), size=draws)
    return tables.reshape(draws, *table.shape)


def _interval(value: float, resampled_values: Array, n: int) -> Estimate:
    lower, upper = np.percentile(resampled_values, [2.5, 97.5])
    return Estimate(value, float(min(lower, value)), float(max(upper, value)), n)


def measures(truth: Index, probabilities: Array, seed: int) -> dict[str, Estimate]:
    """Return the figures with their intervals. `truth` is (N,), `probabilities` (N, K)."""
    predicted, n = probabilities.argmax(axis=1), len(truth)
    table = confusion(truth, predicted, probabilities.shape[1])
    resampled_tables = resampled(table, seed)
    return {
        "accuracy": wilson(float((truth == predicted).sum()), n),
        "macro_f1": _interval(float(f1_by_class(table).mean()), f1_by_class(resampled_tables).mean(axis=-1), n),
        "mcc": _interval(float(mcc(table)), mcc(resampled_tables), n),
        "calibration_error": calibration_error(truth, probabilities, seed),
    }


def by_class(table: Index) -> list[tuple[float, float, float, int]]:
    """Return (precision, recall, F1, texts) of each label."""
    right, true, predicted = np.diagonal(table), table.sum(axis=1), table.sum(axis=0)
    precision = np.divide(right, predicted, out=np.zeros(len(table)), where=predicted > 0)
    recall = np.divide(right, true, out=np.zeros(len(table)), where=true > 0)
    return [
        (float(p), float(r), float(f), int(n))
        for p, r, f, n in zip(precision, recall, f1_by_class(table), true, strict=True)
    ]


@dataclass(frozen=True)
class Bin:
    """Texts whose highest probability lies in one tenth: how sure the model was of them, and how often right."""

    lower: float
    upper: float
    confidence: float
    accuracy: float
    n: int


def reliability(truth: Index, probabilities: Array) -> list[Bin]:
    """Return the bins that hold texts, of ten of equal width."""
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    bin_index = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    return [
        Bin(b / _BINS, (b + 1) / _BINS, float(sure[bin_index == b].mean()), float(right[bin_index == b].mean()), int(n))
        for b, n in enumerate(np.bincount(bin_index, minlength=_BINS))
        if n
    ]


def calibration_error(truth: Index, probabilities: Array, seed: int, draws: int = 500) -> Estimate:
    """Return the expected calibration error (Naeini 2015): the mean gap between how sure and how right, by bins of
    equal width."""
    sure = probabilities.max(axis=1)
    gap = (probabilities.argmax(axis=1) == truth) - sure
    bin_index = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    rows = np.random.default_rng(seed).integers(len(truth), size=(draws, len(truth)))

    def error(index: Index) -> float:
        return float(np.abs(np.bincount(bin_index[index], weights=gap[index], minlength=_BINS)).sum() / len(index))

    return _interval(error(np.arange(len(truth))), np.array([error(index) for index in rows]), len(truth))


def majority(train: Index, truth: Index) -> Estimate:
    """Return the accuracy of always giving the label that most training texts bear."""
    return wilson(float((truth == np.bincount(train).argmax()).sum()), len(truth))
