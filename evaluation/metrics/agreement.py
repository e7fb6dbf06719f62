"""Compute how far annotators agree: Krippendorff's alpha with an interval, and the agreement of each two of them.

    alpha = 1 - D_o / D_e

is the disagreement seen over the one that chance would give, both weighted by how far apart two values lie
(Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"); any annotator may be missing on any unit.
Each unit adds one matrix of coincidences and alpha is a function of their sum, so that drawing units again is a matrix
product; units that were judged alike are of one sort, and the sorts are drawn instead of them.

The interval is for other units of the same kind before the same annotators. It says nothing of other annotators.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from common.distributions import Z95
from common.intervals import wilson
from evaluation.metrics.resampling import corrected_interval

NOMINAL, ORDINAL, INTERVAL = "nominal", "ordinal", "interval"
METRICS = (NOMINAL, ORDINAL, INTERVAL)
FEWEST_UNITS = 20  # judged by two or more; of fewer the interval holds the truth less often than 95 times in 100
FEWEST_TO_PAIR = 10  # common units of two annotators, for an interval of kappa


@dataclass(frozen=True)
class Answers:
    """Values that judges gave to units: three arrays (n,), a row for each annotator and unit. Codes of values begin at
    0;
    `values` says what each code is worth where that matters (INTERVAL)."""

    unit: np.ndarray
    judge: np.ndarray
    code: np.ndarray
    values: tuple[float, ...]

    @property
    def size(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Alpha:
    """Hold Krippendorff's alpha. `value` is None where every value was the same; `lower` and `upper` (95 %) where units
    are too few. `note` says so. `units` are those with two annotators or more, `judgements` the values in them."""

    metric: str
    value: float | None
    lower: float | None
    upper: float | None
    units: int
    judgements: int
    judges: int
    raw: float | None  # share of pairs of values on one unit that are the same
    note: str = ""


@dataclass(frozen=True)
class Pair:
    """Two annotators on the units that both judged. Intervals are 95 %: Wilson's for the share, and of kappa by its
    asymptotic error; weights of kappa are 1 and 0 (NOMINAL) or quadratic."""

    first: int
    second: int
    n: int
    agreed: int
    lower: float
    upper: float
    kappa: float | None
    kappa_lower: float | None
    kappa_upper: float | None

    @property
    def share(self) -> float:
        return self.agreed / self.n


@dataclass(frozen=True)
class PairColumns:
    """Hold pairs as one array (P, 9), a row for each and a column for each field; NaN stands for None."""

    columns: np.ndarray

    def pairs(self) -> list[Pair]:
        return [
            Pair(*map(int, row[:4]), *(None if math.isnan(value) else value for value in row[4:]))  # type: ignore[arg-type]
            for row in self.columns.tolist()
        ]

    def units_in_common(self) -> np.ndarray:
        """Return (J,) in how many pairs' units each annotator is: a unit counts once with each other annotator."""
        judges = self.columns[:, :2].astype(int)
        size = int(judges.max(initial=-1)) + 1
        first, second = (np.bincount(side, weights=self.columns[:, 2], minlength=size) for side in judges.T)
        return first + second

    def among(self, judges: list[int]) -> list[Pair]:
        """Return the pairs of these annotators alone."""
        return PairColumns(self.columns[np.isin(self.columns[:, :2], judges).all(1)]).pairs()


def alpha(answers: Answers, metric: str = NOMINAL, draws: int = 2000, seed: int = 0) -> Alpha:
    """Return Krippendorff's alpha with its interval. Raises ValueError for an unknown metric, for codes without a
    value, or for an annotator who annotated a unit twice."""
    _check(answers, metric)
    counts, times = sorts_of_units(answers)
    units, judgements = int(times.sum()), int((counts.sum(1) * times).sum())
    judges = len(np.unique(answers.judge[_paired(answers)]))
    if not units:
        return Alpha(metric, None, None, None, 0, 0, judges, None, "No two annotators have annotated the same yet.")
    each = coincidences(counts)
    total = np.tensordot(times, each, 1)
    value, raw = float(alpha_of(total, metric, answers.values)), float(np.trace(total) / total.sum())
    common = (metric, units, judgements, judges, raw)
    if math.isnan(value):
        return _alpha(*common, note="All said the same of everything: agreement cannot be told from habit.")
    if units < FEWEST_UNITS:
        note = f"{FEWEST_UNITS} units with two annotators are needed for an interval."
        return _alpha(*common, value=value, note=note)
    if raw == 1:  # drawing units again shows no disagreement either, and would call the least of proofs a proof
        return _alpha(*common, value=value, lower=_lower_of_one(total, units), upper=1.0)
    lower, upper = _interval(each, times, value, metric, answers.values, draws, seed)
    return _alpha(*common, value=value, lower=lower, upper=upper)


def _alpha(
    metric: str,
    units: int,
    judgements: int,
    judges: int,
    raw: float,
    value: float | None = None,
    lower: float | None = None,
    upper: float | None = None,
    note: str = "",
) -> Alpha:
    return Alpha(metric, value, lower, upper, units, judgements, judges, raw, note)


def sorts_of_units(answers: Answers) -> tuple[np.ndarray, np.ndarray]:
    """Return the units with two values or more as sorts: counts of values (P, K), and how many units are of each sort
    (P,)."""
    paired = _paired(answers)
    _, unit = np.unique(answers.unit[paired], return_inverse=True)
    size = answers.size
    cells = np.bincount(unit * size + answers.code[paired], minlength=(unit.max(initial=-1) + 1) * size)
    if not len(cells):
        return np.zeros((0, size)), np.zeros(0)
    sorts, times = np.unique(cells.reshape(-1, size), axis=0, return_counts=True)
    return sorts.astype(float), times.astype(float)


def coincidences(counts: np.ndarray) -> np.ndarray:
    """Return pairs of values of two annotators, each value weighing 1 in all: counts of values (P, K) -> (P, K, K)."""
    size = counts.shape[-1]
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(size)
    return pairs / (counts.sum(1) - 1)[:, None, None]


def alpha_of(total: np.ndarray, metric: str, values: tuple[float, ...]) -> np.ndarray:
    """Return alpha of summed coincidences (..., K, K) -> (...); NaN where only one value was given."""
    value_counts = total.sum(-1)
    n = value_counts.sum(-1)
    gaps = distances(value_counts, metric, values)
    observed = (total * gaps).sum((-2, -1)) / n
    expected = (value_counts[..., :, None] * value_counts[..., None, :] * gaps).sum((-2, -1)) / (n * (n - 1))
    return 1 - np.divide(observed, expected, out=np.full(np.shape(observed), np.nan), where=expected > 0)


def distances(value_counts: np.ndarray, metric: str, values: tuple[float, ...]) -> np.ndarray:
    """Return squared distances of values (..., K, K). Between ranks they are the values given between two, by
    `value_counts`."""
    if metric == NOMINAL:
        return np.broadcast_to(1 - np.eye(value_counts.shape[-1]), (*value_counts.shape, value_counts.shape[-1]))
    positions = (
        np.cumsum(value_counts, -1) - value_counts / 2
        if metric == ORDINAL
        else np.broadcast_to(np.array(values), value_counts.shape)
    )
    return (positions[..., :, None] - positions[..., None, :]) ** 2


def _interval(
    each: np.ndarray, times: np.ndarray, value: float, metric: str, values: tuple[float, ...], draws: int, seed: int
) -> tuple[float, float]:
    sorts, size = len(each), each.shape[-1]
    units = int(times.sum())
    weights = np.random.default_rng(seed).multinomial(units, times / units, size=draws).astype(float)
    samples = alpha_of((weights @ each.reshape(sorts, -1)).reshape(draws, size, size), metric, values)
    left_out_alphas = alpha_of(np.tensordot(times, each, 1) - each, metric, values)
    left_out = np.repeat(np.where(np.isnan(left_out_alphas), value, left_out_alphas), times.astype(int))
    return corrected_interval(value, samples, left_out)


def _lower_of_one(total: np.ndarray, units: int) -> float:
    """Return the lower end where no unit was disagreed about: alpha with as many disagreements as may have been missed
    (Clopper and Pearson, 97.5 %), each as far apart as two values that differ by chance."""
    value_counts = total.sum(-1)
    differ = 1 - (value_counts * (value_counts - 1)).sum() / (value_counts.sum() * (value_counts.sum() - 1))
    return float(max(-1.0, 1 - (1 - 0.025 ** (1 / units)) / differ))


def pairs(answers: Answers, metric: str = NOMINAL) -> list[Pair]:
    """Return each two annotators who have judged a unit in common; the first has the smaller number."""
    return pair_columns(answers, metric).pairs()


def pair_columns(answers: Answers, metric: str = NOMINAL) -> PairColumns:
    """Return the same as columns, all computed at once."""
    _check(answers, metric)
    size = answers.size
    first, second, a, b = _both(answers)
    judges = int(answers.judge.max(initial=-1)) + 1
    pair_keys, pair_of = np.unique(first.astype(np.int64) * judges + second, return_inverse=True)
    tables = np.bincount((pair_of * size + a) * size + b, minlength=len(pair_keys) * size * size)
    tables = tables.reshape(-1, size, size).astype(float)
    n, agreed = tables.sum((1, 2)), np.trace(tables, axis1=1, axis2=2)
    lower, upper = np.array([wilson(*counts) for counts in zip(agreed, n, strict=True)]).reshape(-1, 2).T
    value, error = kappas(tables, metric, answers.values)
    reach = np.where(n >= FEWEST_TO_PAIR, Z95 * error, math.nan)
    ends = np.maximum(-1.0, value - reach), np.minimum(1.0, value + reach)
    whose = np.divmod(pair_keys, max(judges, 1))
    return PairColumns(np.column_stack([*whose, n, agreed, lower, upper, value, *ends]).astype(float))


def _both(answers: Answers) -> tuple[np.ndarray, ...]:
    """Return every two values of one unit: judges, the smaller number first, and what each said."""
    paired = _paired(answers)
    order = np.lexsort((answers.judge[paired], answers.unit[paired]))
    unit, judge, code = (column[paired][order] for column in (answers.unit, answers.judge, answers.code))
    _, start, times = np.unique(unit, return_index=True, return_counts=True)
    index_pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for count in np.unique(times):
        begin = start[times == count]
        index_pairs += [(begin + i, begin + k) for i, k in combinations(range(int(count)), 2)]
    if not index_pairs:
        return (np.zeros(0, dtype=int),) * 4
    left, right = (np.concatenate([pair[side] for pair in index_pairs]) for side in (0, 1))
    return judge[left], judge[right], code[left], code[right]


def kappa(table: np.ndarray, metric: str, values: tuple[float, ...]) -> tuple[float | None, float | None]:
    """Return Cohen's kappa of a table (K, K) with its standard error (Fleiss, Cohen and Everitt 1969); None where both
    annotators always gave the same one value, and chance alone would have them agree."""
    (value,), (error,) = kappas(table[None], metric, values)
    return (None, None) if math.isnan(value) else (float(value), float(error))


def kappas(tables: np.ndarray, metric: str, values: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return `kappa` of each of many tables (P, K, K), and its error; NaN stands for None."""
    n = tables.sum((1, 2))
    share = tables / n[:, None, None]
    rows, columns = tables.sum(2) / n[:, None], tables.sum(1) / n[:, None]
    worth = np.arange(tables.shape[-1], dtype=float) if metric != INTERVAL else np.array(values)
    gap = (worth[:, None] - worth[None, :]) ** 2
    weight = np.eye(len(worth)) if metric == NOMINAL else 1 - gap / max(gap.max(initial=0.0), 1)
    observed, expected = (weight * share).sum((1, 2)), ((rows @ weight) * columns).sum(1)
    expected = np.where(expected >= 1 - 1e-12, math.nan, expected)
    value = (observed - expected) / (1 - expected)
    mean = (columns @ weight.T)[:, :, None] + (rows @ weight)[:, None, :]
    left = (share * (weight - mean * (1 - value)[:, None, None]) ** 2).sum((1, 2))
    spread = left - (value - expected * (1 - value)) ** 2
    return value, np.sqrt(np.maximum(spread, 0.0) / n) / (1 - expected)


def _paired(answers: Answers) -> np.ndarray:
    """Return (n,) True for values on units that two annotators or more have judged."""
    _, unit_index, times = np.unique(answers.unit, return_inverse=True, return_counts=True)
    return times[unit_index] > 1 if len(times) else np.zeros(0, dtype=bool)


def _check(answers: Answers, metric: str) -> None:
    if metric not in METRICS:
        raise ValueError(f"{metric!r} is no metric of alpha; use one of {', '.join(METRICS)}.")
    if len({len(answers.unit), len(answers.judge), len(answers.code)}) > 1:
        raise ValueError("units, judges and values must be as many: one of each in every row.")
    if len(answers.code) and not 0 <= answers.code.min() <= answers.code.max() < answers.size:
        raise ValueError(
            f"codes of values lie between 0 and {answers.size - 1}: got {answers.code.min()}–{answers.code.max()}."
        )
    key = answers.unit.astype(np.int64) * (int(answers.judge.max(initial=0)) + 1) + answers.judge
    if len(np.unique(key)) < len(key):
        raise ValueError(
            "an annotator annotated a unit twice: give the last value alone, or call the repeat another unit."
        )
