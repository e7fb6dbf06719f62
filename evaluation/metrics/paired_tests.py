"""Two models on the same items: the difference of any metric, its interval, a test, and what many tests at once cost.

Both models meet the same items, so the hard ones are hard for both, and the difference is known far better than either
value. Only items that are the same, asked in the same words, may be set against each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from common.distributions import Z95, student95
from evaluation.metrics import definitions as families
from evaluation.metrics import figure_intervals as intervals
from evaluation.metrics import resampling
from evaluation.metrics.definitions import Metric

EXACT_UP_TO = 14  # items that differ: 2^14 ways of swapping them are tried one by one
_POWER = 0.8416  # the normal's 80 % quantile
SWAPS = 9999  # tried at random; fewer where there are very many items
_CELLS = 1 << 22
_TOLD = 5


class NotTheSameItems(ValueError):
    """The two models were asked different things."""


@dataclass(frozen=True)
class Difference:
    """The second model's value minus the first's. `lower`, `upper` and `standard_error` are None with too few items,
    or where those that differ all moved by as much.

    `p` is two-sided: how often labels swapped at random part the two at least so far. `test` says how it was got.
    `differing` are the items on which the two counted different things.
    """

    metric: str
    first: float
    second: float
    value: float
    standard_error: float | None
    lower: float | None
    upper: float | None
    p: float
    test: str
    n: int
    differing: int
    higher_is_better: bool | None

    @property
    def gain(self) -> float:
        """Return the difference, positive where the second is better."""
        return -self.value if self.higher_is_better is False else self.value


def check_same(first: Mapping[str, str], second: Mapping[str, str]) -> None:
    """Check that both models were asked the same: item id -> hash of what was asked. Raises NotTheSameItems that says
    which differ."""
    problems = []
    for ids, words in (
        ([i for i in first if i in second and first[i] != second[i]], "were asked in other words"),
        ([i for i in first if i not in second], "stand in the first alone"),
        ([i for i in second if i not in first], "stand in the second alone"),
    ):
        if ids:
            problems.append(f"{len(ids)} {words} ({', '.join(ids[:_TOLD])}{', …' if len(ids) > _TOLD else ''})")
    if problems:
        raise NotTheSameItems(f"The items are not the same: {'; '.join(problems)}.")


def difference(metric: Metric, first: np.ndarray, second: np.ndarray, draws: int = 2000, seed: int = 0) -> Difference:
    """Return the difference with its interval and p value. first, second (n, k): what the same items counted under
    either model, in the same order."""
    first, second = intervals.checked(metric, first), intervals.checked(metric, second)
    if first.shape != second.shape:
        raise NotTheSameItems(f"{metric.name}: {len(first)} items with {first.shape[1]} counts against {second.shape}.")
    values = intervals.value_of(metric, first), intervals.value_of(metric, second)
    gap = values[1] - values[0]
    p, test = _test(metric, first, second, seed)
    error, lower, upper = _interval(metric, first, second, gap, draws, seed)
    differing = int((first != second).any(1).sum())
    if differing and lower is not None and upper is not None and lower >= upper:
        error = lower = upper = None  # each item moved by as much, which does not prove that all others would
    return Difference(
        metric.name, *values, gap, error, lower, upper, p, test, len(first), differing, metric.higher_is_better
    )  # fmt: skip


def _interval(
    metric: Metric, first: np.ndarray, second: np.ndarray, gap: float, draws: int, seed: int
) -> tuple[float | None, float | None, float | None]:
    n = len(first)
    by_formula = metric.interval != families.BOOTSTRAP
    if n < (intervals.FEWEST if by_formula else intervals.FEWEST_TO_RESAMPLE):
        return None, None, None
    if not by_formula:
        columns, k = np.hstack([first, second]), first.shape[1]

        def gaps(totals: np.ndarray) -> np.ndarray:
            return metric.value(totals[..., k:]) - metric.value(totals[..., :k])

        samples = gaps(resampling.resampled_totals(columns, draws, seed))
        ends = resampling.corrected_interval(gap, samples, resampling.left_out_values(columns, gaps))
        return resampling.standard_deviation(samples), *ends
    error = intervals.standard_error(intervals.influence(metric, second) - intervals.influence(metric, first))
    if is_right_or_wrong(metric, first, second):
        return error, *_of_shares(first[:, 0], second[:, 0])
    t = student95(n - 1)
    return error, gap - t * error, gap + t * error


def is_right_or_wrong(metric: Metric, first: np.ndarray, second: np.ndarray) -> bool:
    return metric.interval == families.MEAN and all(intervals.is_zero_or_one(counts) for counts in (first, second))


def _of_shares(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return the interval of the difference of two shares of the same items: Bonett and Price's adjusted Wald interval
    (2012).

    One more item either way keeps it from having no width where the two agree everywhere.
    """
    n = len(first) + 2
    gained, lost = (((second > first).sum() + 1) / n, ((second < first).sum() + 1) / n)
    half = Z95 * math.sqrt((gained + lost - (gained - lost) ** 2) / n)
    return max(-1.0, float(gained - lost - half)), min(1.0, float(gained - lost + half))


# The test: were the two models one, their answers to an item could be swapped (Noreen 1989; Riezler & Maxwell 2005)


def _test(metric: Metric, first: np.ndarray, second: np.ndarray, seed: int) -> tuple[float, str]:
    changes = (second - first)[(second != first).any(1)]
    if not len(changes):
        return 1.0, "no item differs"
    if is_right_or_wrong(metric, first, second):
        return mcnemar(int((changes[:, 0] > 0).sum()), int((changes[:, 0] < 0).sum())), "McNemar, exact"
    totals = first.sum(0), second.sum(0)
    observed = abs(float(metric.value(totals[1]) - metric.value(totals[0])))
    exact = len(changes) <= EXACT_UP_TO
    reached = tried = 0
    for swaps in _every_swap(len(changes)) if exact else _random_swaps(len(changes), seed):
        moved = swaps @ changes
        with np.errstate(divide="ignore", invalid="ignore"):
            gaps = np.abs(metric.value(totals[1] - moved) - metric.value(totals[0] + moved))
        reached += int((gaps >= observed * (1 - 1e-9)).sum())
        tried += len(swaps)
    if exact:
        return reached / tried, f"swaps, all {tried}"
    return (reached + 1) / (tried + 1), f"{tried} random swaps"


def _every_swap(n: int) -> Iterator[np.ndarray]:
    yield (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(float)


def _random_swaps(n: int, seed: int) -> Iterator[np.ndarray]:
    random, size = np.random.default_rng(seed), max(1, _CELLS // n)
    draws = min(SWAPS, max(1999, 200_000_000 // n))
    for start in range(0, draws, size):
        yield random.integers(2, size=(min(size, draws - start), n), dtype=np.int8).astype(float)


def mcnemar(gained: int, lost: int) -> float:
    """Return the two-sided exact p of whether items that only one model got right fall evenly (binomial at a half)."""
    n, fewer = gained + lost, min(gained, lost)
    logs = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2) for i in range(fewer + 1)
    ]
    return min(1.0, 2 * math.fsum(map(math.exp, logs)))


# Many tests at once


def holm(ps: Sequence[float]) -> list[float]:
    """Return adjusted p values (Holm 1979): the chance of even one false alarm among all stays below the level."""
    adjusted, highest = [1.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = highest
    return adjusted


def pull(metric: Metric, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return (n,) how much of the difference each item makes: what would go if the second model had counted there as
    the first."""
    with np.errstate(divide="ignore", invalid="ignore"):
        contributions = metric.value(second.sum(0)) - metric.value(second.sum(0) - second + first)
    return np.nan_to_num(contributions, nan=0.0, posinf=0.0, neginf=0.0)


def verdict(gap: Difference, adjusted: float, level: float = 0.05) -> str:
    """Return better, worse, or undecided: by the p value that was adjusted for all the tests made at once."""
    if adjusted >= level or gap.gain == 0 or gap.higher_is_better is None:
        return "undecided"
    return "better" if gap.gain > 0 else "worse"


def items_to_settle(gap: Difference) -> int | None:
    """Return how many items would show a difference of this size in four of five attempts; None where there is none."""
    if not gap.standard_error or not gap.value:
        return None
    return math.ceil(gap.n * ((Z95 + _POWER) * gap.standard_error / gap.value) ** 2)
