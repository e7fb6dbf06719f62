"""How far judges agree: Krippendorff's alpha with an interval, and each two annotators' own agreement.

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
    """`value` is None where every value was the same; `lower` and `upper` (95 %) where units are too few. `note` says
    so. `units` are those with two annotators or more, `judgements` the values in them."""

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


def alpha(said: Answers, metric: str = NOMINAL, draws: int = 2000, seed: int = 0) -> Alpha:
    """Raises ValueError for an unknown metric, for codes without a value, or for an annotator who judged a unit
    twice."""
    _check(said, metric)
    counts, times = sorts_of_units(said)
    units, judgements = int(times.sum()), int((counts.sum(1) * times).sum())
    judges = len(np.unique(said.judge[_paired(said)]))
    if not units:
        return Alpha(metric, None, None, None, 0, 0, judges, None, "No two annotators have annotated the same yet.")
    each = coincidences(counts)
    total = np.tensordot(times, each, 1)
    value, raw = float(alpha_of(total, metric, said.values)), float(np.trace(total) / total.sum())
    told = (metric, units, judgements, judges, raw)
    if math.isnan(value):
        return _told(*told, note="All said the same of everything: agreement cannot be told from habit.")
    if units < FEWEST_UNITS:
        return _told(*told, value=value, note=f"{FEWEST_UNITS} units with two annotators are needed for an interval.")
    if raw == 1:  # drawing units again shows no disagreement either, and would call the least of proofs a proof
        return _told(*told, value=value, lower=_lower_of_one(total, units), upper=1.0)
    lower, upper = _interval(each, times, value, metric, said.values, draws, seed)
    return _told(*told, value=value, lower=lower, upper=upper)


def _told(
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


def sorts_of_units(said: Answers) -> tuple[np.ndarray, np.ndarray]:
    """Units with two values or more as sorts: counts of values (P, K), and how many units are of each sort (P,)."""
    kept = _paired(said)
    _, place = np.unique(said.unit[kept], return_inverse=True)
    size = said.size
    cells = np.bincount(place * size + said.code[kept], minlength=(place.max(initial=-1) + 1) * size)
    if not len(cells):
        return np.zeros((0, size)), np.zeros(0)
    sorts, times = np.unique(cells.reshape(-1, size), axis=0, return_counts=True)
    return sorts.astype(float), times.astype(float)


def coincidences(counts: np.ndarray) -> np.ndarray:
    """Counts of values (P, K) -> (P, K, K): pairs of values of two annotators, each value weighing 1 in all."""
    size = counts.shape[-1]
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(size)
    return pairs / (counts.sum(1) - 1)[:, None, None]


def alpha_of(total: np.ndarray, metric: str, values: tuple[float, ...]) -> np.ndarray:
    """Summed coincidences (..., K, K) -> (...); NaN where only one value was given."""
    given = total.sum(-1)
    n = given.sum(-1)
    apart = distances(given, metric, values)
    seen = (total * apart).sum((-2, -1)) / n
    expected = (given[..., :, None] * given[..., None, :] * apart).sum((-2, -1)) / (n * (n - 1))
    return 1 - np.divide(seen, expected, out=np.full(np.shape(seen), np.nan), where=expected > 0)


def distances(given: np.ndarray, metric: str, values: tuple[float, ...]) -> np.ndarray:
    """Squared distances of values (..., K, K); between ranks they are the values given between two, by `given`."""
    if metric == NOMINAL:
        return np.broadcast_to(1 - np.eye(given.shape[-1]), (*given.shape, given.shape[-1]))
    place = np.cumsum(given, -1) - given / 2 if metric == ORDINAL else np.broadcast_to(np.array(values), given.shape)
    return (place[..., :, None] - place[..., None, :]) ** 2


def _interval(
    each: np.ndarray, times: np.ndarray, value: float, metric: str, values: tuple[float, ...], draws: int, seed: int
) -> tuple[float, float]:
    sorts, size = len(each), each.shape[-1]
    units = int(times.sum())
    drawn = np.random.default_rng(seed).multinomial(units, times / units, size=draws).astype(float)
    samples = alpha_of((drawn @ each.reshape(sorts, -1)).reshape(draws, size, size), metric, values)
    without = alpha_of(np.tensordot(times, each, 1) - each, metric, values)
    left_out = np.repeat(np.where(np.isnan(without), value, without), times.astype(int))
    return corrected_interval(value, samples, left_out)


def _lower_of_one(total: np.ndarray, units: int) -> float:
    """Where no unit was disagreed about: alpha with as many as may have escaped us (Clopper and Pearson, 97.5 %), each
    as far apart as two values that differ by chance."""
    given = total.sum(-1)
    differ = 1 - (given * (given - 1)).sum() / (given.sum() * (given.sum() - 1))
    return float(max(-1.0, 1 - (1 - 0.025 ** (1 / units)) / differ))


def pairs(said: Answers, metric: str = NOMINAL) -> list[Pair]:
    """Return each two annotators who have judged a unit in common; the first has the smaller number."""
    _check(said, metric)
    size = said.size
    first, second, a, b = _both(said)
    if not len(first):
        return []
    judges = int(said.judge.max()) + 1
    met, place = np.unique(first.astype(np.int64) * judges + second, return_inverse=True)
    tables = np.bincount((place * size + a) * size + b, minlength=len(met) * size * size).reshape(-1, size, size)
    return [
        _pair(int(key) // judges, int(key) % judges, table.astype(float), metric, said.values)
        for key, table in zip(met, tables, strict=True)
    ]


def _both(answers: Answers) -> tuple[np.ndarray, ...]:
    """Return every two values of one unit: judges, the smaller number first, and what each said."""
    kept = _paired(answers)
    order = np.lexsort((answers.judge[kept], answers.unit[kept]))
    unit, judge, code = (column[kept][order] for column in (answers.unit, answers.judge, answers.code))
    _, start, times = np.unique(unit, return_index=True, return_counts=True)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for many in np.unique(times):
        begin = start[times == many]
        found += [(begin + i, begin + k) for i, k in combinations(range(int(many)), 2)]
    if not found:
        return (np.zeros(0, dtype=int),) * 4
    left, right = (np.concatenate([pair[side] for pair in found]) for side in (0, 1))
    return judge[left], judge[right], code[left], code[right]


def _pair(first: int, second: int, table: np.ndarray, metric: str, values: tuple[float, ...]) -> Pair:
    n, agreed = int(table.sum()), int(np.trace(table))
    value, error = kappa(table, metric, values)
    known = value is not None and error is not None and n >= FEWEST_TO_PAIR
    ends = (max(-1.0, value - Z95 * error), min(1.0, value + Z95 * error)) if known else (None, None)  # type: ignore[operator]
    return Pair(first, second, n, agreed, *wilson(agreed, n), value, *ends)


def kappa(table: np.ndarray, metric: str, values: tuple[float, ...]) -> tuple[float | None, float | None]:
    """Cohen's kappa of a table (K, K) with its standard error (Fleiss, Cohen and Everitt 1969); None where both
    annotators always gave the same one value, and chance alone would have them agree."""
    n = table.sum()
    share, rows, columns = table / n, table.sum(1) / n, table.sum(0) / n
    place = np.arange(len(table), dtype=float) if metric != INTERVAL else np.array(values)
    gap = (place[:, None] - place[None, :]) ** 2
    weight = np.eye(len(table)) if metric == NOMINAL else 1 - gap / max(gap.max(), 1)
    seen, expected = float((weight * share).sum()), float(rows @ weight @ columns)
    if expected >= 1 - 1e-12:
        return None, None
    value = (seen - expected) / (1 - expected)
    mean = (weight @ columns)[:, None] + (rows @ weight)[None, :]
    spread = (share * (weight - mean * (1 - value)) ** 2).sum() - (value - expected * (1 - value)) ** 2
    return value, math.sqrt(max(float(spread), 0.0) / n) / (1 - expected)


def _paired(answers: Answers) -> np.ndarray:
    """Return (n,) True for values on units that two annotators or more have judged."""
    _, place, times = np.unique(answers.unit, return_inverse=True, return_counts=True)
    return times[place] > 1 if len(times) else np.zeros(0, dtype=bool)


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
