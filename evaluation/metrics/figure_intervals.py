"""A metric's value with its standard error, 95 % interval and n, from what each item counted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from common.distributions import student95
from common.intervals import wilson
from evaluation.metrics import definitions as families
from evaluation.metrics import resampling
from evaluation.metrics.classes import f1
from evaluation.metrics.definitions import Metric

_LARGEST = 709.0  # whose exponential is a number still
FEWEST = 2  # items for an interval with a formula
FEWEST_TO_RESAMPLE = 10  # items drawn again from fewer than these hardly vary as new ones would


class TooLarge(ValueError):
    """A value that no number can hold, such as the perplexity by words of texts that are not parted into words."""


@dataclass(frozen=True)
class Figure:
    """Hold a figure with its interval. `standard_error`, `lower` and `upper` are None where there are too few items or
    all are alike; `note` says so."""

    metric: str
    value: float
    standard_error: float | None
    lower: float | None
    upper: float | None
    n: int
    higher_is_better: bool | None
    note: str = ""


def figure(metric: Metric, counts: np.ndarray, draws: int = 1000, seed: int = 0) -> Figure:
    """Return the value with its interval. counts (n, k), a row for each item. Raises ValueError for none, for numbers
    that are not finite or do not fit."""
    counts = checked(metric, counts)
    value, n = value_of(metric, counts), len(counts)
    fewest = FEWEST_TO_RESAMPLE if metric.interval == families.BOOTSTRAP else FEWEST
    if n < fewest:
        subject = "item is" if n == 1 else "items are"
        note = f"{metric.name}: {n} {subject} too few for an interval; {fewest} are needed."
        return Figure(metric.name, value, None, None, None, n, metric.higher_is_better, note)
    error, lower, upper = (0.0, value, value)
    if not _says_one_thing(metric, counts, value):
        error, lower, upper = _interval(metric, counts, value, draws, seed)
    if error <= 1e-12 * abs(value) or lower >= upper:  # nothing varied, which does not prove that nothing will
        informative = int(
            counts.any(axis=1).sum()
        )  # a text that neither bears a label nor got it says nothing of its F1
        if metric.bounds != (0.0, 1.0) or value not in (0.0, 1.0) or not informative:
            note = f"{metric.name}: its {n} items are all alike, and show no interval."
            return Figure(metric.name, value, None, None, None, n, metric.higher_is_better, note)
        lower, upper = wilson(value * informative, informative)
        if metric.value is f1:  # from the share of right ones among them
            lower, upper = 2 * lower / (1 + lower), 2 * upper / (1 + upper)
    low, high = metric.bounds
    return Figure(metric.name, value, error, max(low, lower), min(high, upper), n, metric.higher_is_better)


def _says_one_thing(metric: Metric, counts: np.ndarray, value: float) -> bool:
    """Return whether each item that counted anything has the value of all: samples would differ by how many they
    hold."""
    if metric.interval != families.BOOTSTRAP:
        return False
    with np.errstate(divide="ignore", invalid="ignore"):
        return bool((metric.value(counts[counts.any(axis=1)]) == value).all())


def value_of(metric: Metric, counts: np.ndarray) -> float:
    """Return the value of all items together. Raises TooLarge for one without end, and ValueError where it is not a
    number, such as a ratio over nothing."""
    totals = counts.sum(0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = float(metric.value(totals))
    if metric.interval == families.LOG_RATIO and math.isinf(value) and totals[1]:
        raise TooLarge(f"{metric.name} of these {len(counts)} items is too large for a number to hold.")
    if not math.isfinite(value):
        raise ValueError(f"{metric.name} of these {len(counts)} items is not a number: {metric.name} has no units.")
    return value


def checked(metric: Metric, counts: np.ndarray) -> np.ndarray:
    counts = np.asarray(counts, dtype=float)
    if counts.ndim != 2 or not len(counts):
        raise ValueError(f"{metric.name} needs at least one item with its counts.")
    if metric.counts and counts.shape[1] != len(metric.counts):
        raise ValueError(f"{metric.name} takes {len(metric.counts)} counts of an item, not {counts.shape[1]}.")
    if not np.isfinite(counts).all():
        item = int(np.flatnonzero(~np.isfinite(counts).all(1))[0])
        raise ValueError(f"{metric.name}: what item {item} counted is not finite: {counts[item].tolist()}.")
    return counts


def _interval(metric: Metric, counts: np.ndarray, value: float, draws: int, seed: int) -> tuple[float, float, float]:
    """Return (standard error, lower, upper)."""
    if metric.interval == families.BOOTSTRAP:
        samples = metric.value(resampling.resampled_totals(counts, draws, seed))
        left_out = resampling.left_out_values(counts, metric.value)
        return resampling.standard_deviation(samples), *resampling.corrected_interval(value, samples, left_out)
    error = standard_error(influence(metric, counts))
    if metric.interval == families.MEAN and is_zero_or_one(counts):
        return error, *wilson(value * len(counts), len(counts))
    t = student95(len(counts) - 1)
    if metric.interval == families.LOG_RATIO:  # taken before the exponential, and so never below 0
        reach = t * error / value
        return error, value * math.exp(-reach), value * math.exp(min(reach, _LARGEST - math.log(value)))
    return error, value - t * error, value + t * error


def influence(metric: Metric, counts: np.ndarray) -> np.ndarray:
    """Return (n,) by how much each item moves a value that is a ratio of two sums, or a function of one; their sum is
    0.

    The linearised ratio estimator: the variance of the value is n / (n - 1) times the sum of their squares.
    """
    above, below = counts[:, 0], counts[:, 1]
    ratio = above.sum() / below.sum()
    slope = math.exp(ratio) if metric.interval == families.LOG_RATIO else metric.scale
    return slope * (above - ratio * below) / below.sum()


def standard_error(influences: np.ndarray) -> float:
    n, largest = len(influences), float(np.abs(influences).max())  # of huge ones the squares would have no end
    return largest * math.sqrt(n / (n - 1) * float(((influences / largest) ** 2).sum())) if largest else 0.0


def is_zero_or_one(counts: np.ndarray) -> bool:
    return bool(np.isin(counts[:, 0], (0.0, 1.0)).all() and (counts[:, 1] == 1).all())
