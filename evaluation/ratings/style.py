"""Style control: ratings as they would be if both answers were as long and as decorated as each other.

Votes follow σ(rᵢ − rⱼ + Σ βₖ·zₖ), where zₖ says how far the two answers differ in a style feature: (x_a − x_b)/(x_a +
x_b) in units of its standard deviation over the votes (Li, Angelopoulos, Chiang, LMArena, 2024, "Does style
matter?"). A tie is half a win, as in `fit`. β says what the style is worth; the ratings are what is left. Both are
shown: style is part of what people like, and control does not make the plain rating wrong.

Unlike in LMArena's code, differences are not centred before they are scaled (that would count the same vote
differently when its answers change places), nothing is added to x_a + x_b, and no penalty shrinks β or the ratings.

Votes are read once for every step of Newton's method, from a source that can be read again and again: a list, or an
object whose `__iter__` queries anew. Memory is one block, whatever the number of votes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from .clusters import SCORE, Block, Voters, by_voters, renumbered, summed_scores, voters_at_once
from .fit import CENTRE, SCALE, Fit, NotConverged, fit, half_wins, laplacian, sigmoid, squared_scores, tie_bridges
from .style_counts import FEATURES, Style, differences, style_of
from .tally import Tally, tally_indices

__all__ = ["FEATURES", "Coefficient", "Style", "StyleFit", "StyledVotes", "differences", "fit_style", "style_of"]

MOST = 15.0  # log-odds by one standard deviation: no taste is as strong, but a feature that decides every vote is


class StyledVotes(NamedTuple):
    """A block of votes.

    `a`, `b` (n,) places in the models; `said` (n,) in LABELS; `difference` (n, k), a column for each feature; `voter`
    (n,) who said it, ascending over all blocks, or None where every vote stands for itself.
    """

    a: np.ndarray
    b: np.ndarray
    said: np.ndarray
    difference: np.ndarray
    voter: np.ndarray | None = None


@dataclass(frozen=True)
class Coefficient:
    """What a style feature is worth: log-odds of winning by one standard deviation of its difference, 95 % interval.

    NaN when the answers never differ in it: then there is nothing to control.
    """

    feature: str
    value: float
    lower: float
    upper: float
    deviation: float  # of the differences

    def chance(self, difference: float) -> tuple[float, float, float]:
        """How often an answer with this `difference` is chosen over one just as good otherwise, and the interval.

        1/3 is for twice as long, 1 for some against none.
        """
        units = difference / self.deviation if self.deviation else math.nan
        value, *ends = (float(sigmoid(np.array(x * units))) for x in (self.value, self.lower, self.upper))
        return value, min(ends), max(ends)


@dataclass(frozen=True)
class StyleFit:
    """`plain` and `controlled` ratings of the same votes, and what each style feature is worth."""

    plain: Fit
    controlled: Fit
    coefficients: tuple[Coefficient, ...]


@dataclass(frozen=True)
class _Problem:
    """What every pass over the votes needs: the votes, and the columns of differences in use with their deviations."""

    blocks: Iterable[StyledVotes]
    tally: Tally
    group: np.ndarray
    added: np.ndarray
    used: np.ndarray
    deviation: np.ndarray

    @property
    def size(self) -> int:
        return len(self.tally.models)


def fit_style(models: Sequence[object], blocks: Iterable[StyledVotes], features: Sequence[str] = FEATURES) -> StyleFit:
    """Ratings of `models` with and without control of `features`, the columns of `StyledVotes.difference`.

    Raises ValueError on a source that can be read only once, on bad blocks, and where features, or a feature and the
    models, always go together; NotConverged where a feature decides every vote.
    """
    if iter(blocks) is blocks:
        raise ValueError("votes are read several times: give a list, or an object whose __iter__ begins anew.")
    tally, deviation, named = _survey(tuple(models), blocks, len(features))
    plain = fit(tally)
    plain, voters = by_voters(plain, _votes(blocks)) if named else (plain, None)
    used = np.flatnonzero(deviation > 0)
    added = half_wins(tally.wins + tally.ties / 2)
    problem = _Problem(blocks, tally, plain.group, added, used, deviation[used])
    point = _solve(problem, plain.log_odds, [features[int(k)] for k in used])
    covariance = _covariance(problem, point, voters if voters and voters.repeat else None)
    size, same = problem.size, plain.group[:, None] == plain.group[None, :]
    rated = SCALE**2 * np.where(same, covariance[:size, :size], math.nan)
    value, error = np.full((2, len(features)), math.nan)
    value[used], error[used] = point[size:], plain.critical * np.sqrt(np.diagonal(covariance)[size:])
    columns = zip(features, value, value - error, value + error, deviation, strict=True)
    return StyleFit(
        plain=plain,
        controlled=replace(plain, rating=CENTRE + SCALE * point[:size], covariance=rated),
        coefficients=tuple(Coefficient(name, *(float(number) for number in numbers)) for name, *numbers in columns),
    )


def _votes(blocks: Iterable[StyledVotes]) -> Iterator[Block]:
    """The votes without their style, as intervals by voters read them."""
    for block in blocks:
        assert block.voter is not None  # the survey has seen it
        yield block.voter, block.a, block.b, block.said, np.ones(len(block.a))


def _survey(models: tuple[object, ...], blocks: Iterable[StyledVotes], width: int) -> tuple[Tally, np.ndarray, bool]:
    """First pass: the tally, each difference's standard deviation (k,), 0 where it never differs, are voters told?"""
    cells, count, named = np.zeros((len(models), len(models), 4)), 0, set()
    total, squared = np.zeros((2, width))
    for block in blocks:
        difference = np.asarray(block.difference, dtype=float)
        if difference.shape != (len(block.a), width):
            raise ValueError(f"difference must be (votes, {width} features): got {difference.shape}.")
        if not np.isfinite(difference).all():
            raise ValueError("difference has a value that is no number: leave such votes out.")
        named.add(block.voter is not None)
        cells += tally_indices(block.a, block.b, block.said, len(models))
        count, total, squared = (
            count + len(difference),
            total + difference.sum(axis=0),
            squared + (difference**2).sum(axis=0),
        )
    if not count:
        raise ValueError("there is nothing to rate: give at least one vote.")
    if len(named) > 1:
        raise ValueError("some blocks say who voted and some do not: give voter in all, or in none.")
    variance = squared / count - (total / count) ** 2
    return Tally(models, cells), np.sqrt(np.where(variance > 1e-12, variance, 0.0)), named.pop()


def _solve(problem: _Problem, start: np.ndarray, features: list[str]) -> np.ndarray:
    """(M + k,) log-odds, each group centred, then β. A step is halved until it does not climb."""
    point, step = np.concatenate([start, np.zeros(len(features))]), np.zeros(0)
    loss, gradient, information = _newton(problem, point)
    for _ in range(60):
        if np.abs(gradient).max() <= 1e-10 * problem.tally.votes:
            return point
        if np.linalg.cond(information) > 1e10:
            raise ValueError(
                f"these go together without exception, or with the models: {', '.join(features)}; drop one."
            )
        step, slack = np.linalg.solve(information, gradient), 1e-12 * max(1.0, abs(loss))
        for _ in range(40):
            trial = _newton(problem, _centred(problem, point + step))
            if trial[0] <= loss + slack:
                break
            step = step / 2
        point = _centred(problem, point + step)
        loss, gradient, information = trial
        if np.abs(point[problem.size :]).max(initial=0) > MOST:
            name = features[int(np.abs(point[problem.size :]).argmax())]
            raise NotConverged(f"{name} decides every vote: what it is worth has no upper end.")
    raise NotConverged("style control did not converge in 60 Newton steps.")


def _centred(problem: _Problem, point: np.ndarray) -> np.ndarray:
    ratings = point[: problem.size]
    means = np.bincount(problem.group, weights=ratings) / np.bincount(problem.group)
    return np.concatenate([ratings - means[problem.group], point[problem.size :]])


def _newton(problem: _Problem, point: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """One pass: the loss, its descent direction's gradient (M + k,), and the Hessian, regular along each group."""
    size, ratings = problem.size, point[: problem.size]
    chance = sigmoid(ratings[:, None] - ratings[None, :])
    added = problem.added
    loss = float((added * np.logaddexp(0, ratings[None, :] - ratings[:, None])).sum())
    gradient, information = np.zeros(len(point)), np.zeros((len(point), len(point)))
    gradient[:size] = (added - (added + added.T) * chance).sum(axis=1)
    information[:size, :size] = laplacian((added + added.T) * chance * (1 - chance))
    for a, b, z, score, gap, _ in _passes(problem, point):
        chance = sigmoid(gap)
        loss += float((np.logaddexp(0, gap) - score * gap).sum())
        gradient += _collected(a, b, z, score - chance, size)
        information += _crossed(a, b, z, chance * (1 - chance), size)
    same = problem.group[:, None] == problem.group[None, :]
    information[:size, :size] += same / same.sum(axis=1)
    return loss, gradient, information


def _passes(problem: _Problem, point: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Blocks as (a, b, z, score, gap, voter); voter is empty where votes stand for themselves."""
    for block in problem.blocks:
        a, b = np.asarray(block.a, dtype=np.int64), np.asarray(block.b, dtype=np.int64)
        z = np.asarray(block.difference, dtype=float)[:, problem.used] / problem.deviation
        gap = point[a] - point[b] + z @ point[problem.size :]
        yield a, b, z, SCORE[block.said], gap, np.zeros(0) if block.voter is None else np.asarray(block.voter)


def _collected(a: np.ndarray, b: np.ndarray, z: np.ndarray, weight: np.ndarray, size: int) -> np.ndarray:
    """(M + k,) Σ weight · x, where x = (eₐ − e_b, z) is a vote's row of the design."""
    ratings = np.bincount(a, weights=weight, minlength=size) - np.bincount(b, weights=weight, minlength=size)
    return np.concatenate([ratings, weight @ z])


def _crossed(a: np.ndarray, b: np.ndarray, z: np.ndarray, weight: np.ndarray, size: int) -> np.ndarray:
    """(M + k, M + k) Σ weight · x xᵀ."""
    edges = np.bincount(a * size + b, weights=weight, minlength=size * size).reshape(size, size)
    across = [_collected(a, b, z[:, :0], weight * column, size) for column in z.T]
    side = np.stack(across) if across else np.zeros((0, size))
    return np.block([[laplacian(edges + edges.T), side.T], [side, (z * weight[:, None]).T @ z]])


def _covariance(problem: _Problem, point: np.ndarray, voters: Voters | None) -> np.ndarray:
    """The sandwich (M + k, M + k), by voters when they are given."""
    size, added = problem.size, problem.added
    wins, ties = problem.tally.wins, problem.tally.ties
    squared = np.zeros((len(point), len(point)))
    bridges = added + tie_bridges(wins + added, ties)
    squared[:size, :size] = squared_scores(point[:size], bridges, np.zeros_like(ties))
    if voters:
        squared += voters.voters / (voters.voters - 1) * _squared_by_voters(problem, point)
    else:
        squared += _squared_by_votes(problem, point)
    inverse = np.linalg.inv(_newton(problem, point)[2])
    return inverse @ squared @ inverse


def _squared_by_voters(problem: _Problem, point: np.ndarray) -> np.ndarray:
    """(M + k, M + k) Σ s_v s_vᵀ, the scores of a voter's votes summed; a voter may go on in the next block."""
    total = np.zeros((len(point), len(point)))
    last, held = None, np.zeros(len(point))
    for a, b, z, score, gap, voter in _passes(problem, point):
        left = score - sigmoid(gap)
        for rows in voters_at_once(renumbered(voter), len(point)):
            others = left[rows] * z[rows].T
            sums = summed_scores(voter[rows], a[rows], b[rows], left[rows], others, problem.size)
            if voter[rows][0] == last:
                sums[0] += held
            else:
                total += np.outer(held, held)
            total += sums[:-1].T @ sums[:-1]
            last, held = voter[rows][-1], sums[-1]
    return total + np.outer(held, held)


def _squared_by_votes(problem: _Problem, point: np.ndarray) -> np.ndarray:
    total = np.zeros((len(point), len(point)))
    for a, b, z, score, gap, _ in _passes(problem, point):
        total += _crossed(a, b, z, (score - sigmoid(gap)) ** 2, problem.size)
    return total
