"""Figures of each annotator beside the others' on the same items: numbers with their intervals, and no verdict.

Judges are numbered 0 to J - 1 and every function takes columns (n,), a row for each annotation. `suspicion` says which
of these numbers an honest annotator would hardly show.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from common.distributions import student95
from common.intervals import wilson

FIRST, SECOND, LEVEL = 0, 1, 2  # what was said of two answers; a tie and "both are bad" are both level
HASTY_SECONDS, HASTY_CHARACTERS = 1.0, 100.0  # nobody reads a hundred characters in a second
WORD = 6  # characters of a word with its blank: a text in any language has characters
FEWEST = 2
PASSES = 20  # of severities: each is set against the others' stars, less their own severity


@dataclass(frozen=True)
class Shares:
    """Hold shares by annotator: `hits` of `n` for each annotator (J,), and the share that chance or the others would
    give."""

    hits: np.ndarray
    n: np.ndarray
    expected: np.ndarray

    def interval(self, judge: int) -> tuple[float, float]:
        return wilson(float(self.hits[judge]), float(self.n[judge]))


@dataclass(frozen=True)
class Means:
    """A mean for each annotator (J,) with its standard error, and of how many items; NaN where there are too few."""

    mean: np.ndarray
    error: np.ndarray
    n: np.ndarray

    def interval(self, judge: int) -> tuple[float, float] | None:
        """Return the 95 % interval by Student's t; None where there is none."""
        if not np.isfinite(self.error[judge]):
            return None
        reach = student95(float(self.n[judge] - 1)) * float(self.error[judge])
        return float(self.mean[judge]) - reach, float(self.mean[judge]) + reach


@dataclass(frozen=True)
class Severity:
    """Say by how many steps each annotator's stars lie below (negative) or above the others' on the same items.
    `shrunk` is drawn towards 0 by as much as few items, and annotators who are alike, make a difference mere chance."""

    raw: Means
    shrunk: np.ndarray
    shrunk_error: np.ndarray


def shares(judge: np.ndarray, hit: np.ndarray, judges: int, expected: float | np.ndarray = 0.5) -> Shares:
    hits, n = (np.bincount(judge, weights=w, minlength=judges) for w in (hit.astype(float), np.ones(len(judge))))
    return Shares(hits, n, np.broadcast_to(np.asarray(expected, dtype=float), (judges,)))


def first_chosen(judge: np.ndarray, choices: np.ndarray, judges: int) -> Shares:
    """Return how often the answer shown first was chosen, of annotations that chose one: sides are drawn, so chance is
    ½."""
    decided = choices != LEVEL
    return shares(judge[decided], choices[decided] == FIRST, judges)


def among_others(unit: np.ndarray, code: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each row what most of the others said of its unit, -1 without a most frequent answer; and how many
    they are."""
    _, units = np.unique(unit, return_inverse=True)
    counts = np.bincount(units * size + code, minlength=(units.max(initial=-1) + 1) * size).reshape(-1, size)
    others = counts[units]
    others[np.arange(len(code)), code] -= 1
    order = np.sort(others, axis=1)
    is_clear = order[:, -1] > (order[:, -2] if size > 1 else 0)
    return np.where(is_clear, others.argmax(1), -1), others.sum(1)


def with_others(judge: np.ndarray, unit: np.ndarray, code: np.ndarray, size: int, judges: int) -> Shares:
    """Return how often each said what most others said of the same item; `expected` where answers were dealt out
    blindly: the same answers by both, set beside each other at random."""
    most, _ = among_others(unit, code, size)
    clear = most >= 0
    judge, code, most = judge[clear], code[clear], most[clear]
    own_counts, others = (
        np.bincount(judge * size + column, minlength=judges * size).reshape(judges, size) for column in (code, most)
    )
    n = own_counts.sum(1)
    by_chance = np.divide((own_counts * others).sum(1), n**2, out=np.full(judges, np.nan), where=n > 0)
    return shares(judge, code == most, judges, by_chance)


@dataclass(frozen=True)
class Repeats:
    """Count comparisons that came again with the sides swapped. `same`: the same answer won, or neither did, both
    times; `expected`, were each time said blindly. `first` and `second`: the same *side* won both times."""

    same: Shares
    first: np.ndarray
    second: np.ndarray


def repeats(judge: np.ndarray, before: np.ndarray, after: np.ndarray, judges: int) -> Repeats:
    """Return how consistent each annotator is. `before` and `after` go by the sides as they were shown: whoever means
    it says the other side the second time."""
    swapped = np.where(after == LEVEL, LEVEL, 1 - np.minimum(after, SECOND))
    one, other = (
        np.bincount(judge * 3 + column, minlength=judges * 3).reshape(judges, 3) for column in (before, swapped)
    )
    n = one.sum(1)
    # Which answer is the better one is a coin's fall to a blind annotator: only how often they call it level is their
    # own.
    level = np.divide(one[:, LEVEL] + other[:, LEVEL], 2 * n, out=np.full(judges, np.nan), where=n > 0)
    same = shares(judge, before == swapped, judges, level**2 + (1 - level) ** 2 / 2)
    stuck = before == after
    sides = [np.bincount(judge[stuck & (before == side)], minlength=judges) for side in (FIRST, SECOND)]
    return Repeats(same, *sides)


def longer_than_others(
    judge: np.ndarray, unit: np.ndarray, longer: np.ndarray, judges: int
) -> tuple[Shares, Means, Means]:
    """Return how often the longer answer won; by how much more often than others would have it on the same items; and
    what the others would have.

    `longer` (n,) is 1 where the longer of two answers won, 0 where the shorter did; other rows are left out before.
    A long answer may well be the better one: only the second number is the annotator's own.
    """
    _, units = np.unique(unit, return_inverse=True)
    total, number = (np.bincount(units, weights=w)[units] for w in (longer.astype(float), np.ones(len(longer))))
    has_others = number > 1
    others = (total[has_others] - longer[has_others]) / (number[has_others] - 1)
    excess = means(judge[has_others], longer[has_others] - others, judges)
    return shares(judge, longer, judges), excess, means(judge[has_others], others, judges)


def means(judge: np.ndarray, value: np.ndarray, judges: int) -> Means:
    n = np.bincount(judge, minlength=judges)
    mean = np.divide(np.bincount(judge, weights=value, minlength=judges), n, out=np.full(judges, np.nan), where=n > 0)
    left = np.bincount(judge, weights=(value - mean[judge]) ** 2, minlength=judges)
    error = np.sqrt(np.divide(left, n * (n - 1.0), out=np.full(judges, np.nan), where=n >= FEWEST))
    return Means(mean, error, n)


def severity(judge: np.ndarray, unit: np.ndarray, stars: np.ndarray, judges: int) -> Severity:
    """Return by how many stars each annotator differs from the others. Stars (n,) of annotators for units. The others'
    stars are first rid of their own severity, as far as it is known, so that a mild annotator among severe ones is
    not taken for milder still."""
    _, units = np.unique(unit, return_inverse=True)
    number = np.bincount(units)[units]
    has_others = number > 1
    judge, units, stars, number = (
        judge[has_others],
        units[has_others],
        stars[has_others].astype(float),
        number[has_others],
    )
    shrunk = np.zeros(judges)
    for _ in range(PASSES):
        clean = stars - shrunk[judge]
        others = (np.bincount(units, weights=clean)[units] - clean) / (number - 1) if len(units) else clean
        raw = means(judge, stars - others, judges)
        moved, error = _shrunk(raw)
        if np.abs(moved - shrunk).max(initial=0) < 1e-6:
            break
        shrunk = moved
    return Severity(raw, shrunk, error)


def _shrunk(raw: Means) -> tuple[np.ndarray, np.ndarray]:
    """Return the means and errors drawn towards 0, by how far annotators differ beyond chance (DerSimonian and Laird
    1986)."""
    is_known = np.isfinite(raw.error) & (raw.error > 0)
    if is_known.sum() < FEWEST:
        return np.zeros(len(raw.mean)), np.full(len(raw.mean), np.nan)
    weight = raw.error[is_known] ** -2
    centre = (weight * raw.mean[is_known]).sum() / weight.sum()
    excess = (weight * (raw.mean[is_known] - centre) ** 2).sum() - (is_known.sum() - 1)
    variance = max(excess / (weight.sum() - (weight**2).sum() / weight.sum()), 0.0)
    shrinkage = np.zeros(len(raw.mean))
    shrinkage[is_known] = variance / (variance + raw.error[is_known] ** 2) if variance > 0 else 0.0
    return shrinkage * np.where(is_known, raw.mean, 0.0), np.sqrt(shrinkage) * np.where(is_known, raw.error, np.nan)


def in_step(judge: np.ndarray, unit: np.ndarray, stars: np.ndarray, judges: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (J,) Pearson's correlation of each annotator's stars with the others' mean of the same items, and of how
    many; severity does not touch it. NaN where either never varied."""
    _, unit_of = np.unique(unit, return_inverse=True)
    number = np.bincount(unit_of)[unit_of]
    has_others = number > 1
    judge, own_stars, unit_of, number = (
        judge[has_others],
        stars[has_others].astype(float),
        unit_of[has_others],
        number[has_others],
    )
    others = (
        (np.bincount(unit_of, weights=own_stars)[unit_of] - own_stars) / (number - 1) if len(unit_of) else own_stars
    )
    n = np.bincount(judge, minlength=judges)

    def centred(column: np.ndarray) -> np.ndarray:
        total = np.bincount(judge, weights=column, minlength=judges)
        return column - np.divide(total, n, out=np.zeros(judges), where=n > 0)[judge]

    x, y = centred(own_stars), centred(others)
    xy, xx, yy = (np.bincount(judge, weights=w, minlength=judges) for w in (x * y, x * x, y * y))
    spread = np.sqrt(xx * yy)
    return np.divide(xy, spread, out=np.full(judges, np.nan), where=spread > 1e-9), n


def commonest(judge: np.ndarray, code: np.ndarray, size: int, judges: int) -> tuple[Shares, np.ndarray]:
    """Return how often each annotator gave the answer that they give most, which it is, and how often all others give
    it."""
    counts = np.bincount(judge * size + code, minlength=judges * size).reshape(judges, size).astype(float)
    top = counts.argmax(1)
    rows = np.arange(judges)
    rest = counts.sum(0)[None, :] - counts
    total = rest.sum(1)
    by_others = np.divide(rest[rows, top], total, out=np.full(judges, np.nan), where=total > 0)
    return Shares(counts[rows, top], counts.sum(1), by_others), top


def hasty(seconds: np.ndarray, characters: np.ndarray) -> np.ndarray:
    """Return (n,) True where nobody could have read the answers."""
    return (seconds < HASTY_SECONDS) | (seconds * HASTY_CHARACTERS < characters)


def median(values: np.ndarray) -> tuple[float, float | None, float | None]:
    """Return the median with its 95 % interval from order statistics, which needs no shape; no interval below six
    values."""
    values = np.sort(values)
    n = len(values)
    reach = 0.98 * math.sqrt(n) + 0.5
    low, high = math.floor(n / 2 - reach), math.ceil(n / 2 + reach) - 1
    if n < 6 or low < 0 or high >= n:
        return float(np.median(values)), None, None
    return float(np.median(values)), float(values[low]), float(values[high])


def two_sided(hits: int, n: int, share: float = 0.5) -> float:
    """Return the exact p of a binomial count: twice the smaller tail, at most 1."""
    if n == 0:
        return 1.0
    k = np.arange(n + 1)
    steps = np.log(np.maximum(n - k[:-1], 1)) - np.log(k[1:])
    log_choose = np.concatenate([[0.0], np.cumsum(steps)])
    chance = np.exp(log_choose + k * math.log(share) + (n - k) * math.log1p(-share))
    return float(min(1.0, 2 * min(chance[: hits + 1].sum(), chance[hits:].sum())))
