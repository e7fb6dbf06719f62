"""Weight each voter's votes by how often the other voters would have said the same.

Each vote of voter v is taken to be sincere, by Bradley-Terry, or else the toss of a coin, with a chance eᵥ of the
voter's own: P(A is chosen) = (1 − eᵥ)·σ(rᵢ − rⱼ) + eᵥ/2, a tie as half a vote each way. This is Crowd-BT (Chen et
al., 2013, 10.1145/2433396.2433420) without voters who answer the wrong way round on purpose: somebody who does counts
next to nothing.

What is believed of eᵥ before the votes is a mixture: most voters are careful, Beta(2, 18), and some are careless,
Beta(8, 2); how many is learnt from the votes. So a voter of few votes is taken for one like the rest, and only many
votes at odds with everybody's make a voter count little. The ratings maximise the likelihood with the eᵥ integrated
out on a grid, by expectation-maximisation (Dempster, Laird and Rubin, 1977).

The weighted ratings are an ordinary fit with each vote counted 1 − E[eᵥ] times, with intervals by voters; the same
weight for all gives the unweighted ratings. They belong beside these and never in their place: a voter whose taste
differs from most people's looks like a coin here, and is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from evaluation.ratings.bradley_terry import SCALE, Fit, NotConverged, fit, half_wins, sigmoid, solve_groups
from evaluation.ratings.tally import LABELS, Tally
from evaluation.ratings.voter_clusters import Block, Rows, clustered, score_voters, whole_voters

CAREFUL, CARELESS = (2.0, 18.0), (8.0, 2.0)  # Beta priors of eᵥ
GRID = (np.arange(40) + 0.5) / 40  # of eᵥ
STILL = 0.01  # rating points, and percent of voters
LONGEST = 64.0  # passes that may be leapt at once


@dataclass(frozen=True)
class VoterWeights:
    """The posterior of each voter's reliability, all (V,), in ascending order of `voter`.

    `coin` is the posterior mean of eᵥ, the share of votes that say nothing, with its 95 % interval, given the ratings.
    """

    voter: np.ndarray
    votes: np.ndarray
    coin: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    @property
    def weight(self) -> np.ndarray:
        """Return (V,): how much of a vote each of a voter's votes counts."""
        return 1 - self.coin


@dataclass(frozen=True)
class Reliability:
    """Hold ratings that weigh voters by their reliability: `weighted` ratings, to be shown beside the fit they came
    from, the voters, and the share of careless ones."""

    weighted: Fit
    voters: VoterWeights
    careless: float


def fit_reliability(fitted: Fit, blocks: Iterable[Block]) -> Reliability:
    """Return weights of voters, and ratings with them. Blocks as in `voter_clusters`, from a source that can be read
    repeatedly.

    Raises ValueError on a source that can be read only once, bad blocks and fewer than two voters; NotConverged when
    the fit of voters fails.
    """
    if iter(blocks) is blocks:
        raise ValueError("votes are read several times: give a list, or an object whose __iter__ starts again.")
    log_odds, careless = _solve(fitted, blocks)
    voters = _voters(blocks, log_odds, careless)
    weighted = _Weighted(blocks, voters)
    size = len(fitted.models)
    cells = sum(_cells(rows, rows.times, size) for rows in whole_voters(weighted, size))
    refitted = fit(Tally(fitted.models, np.asarray(cells)))
    return Reliability(clustered(refitted, score_voters(refitted, weighted)), voters, careless)


@dataclass(frozen=True)
class _Weighted:
    """The same votes, each weighted by its voter's weight."""

    blocks: Iterable[Block]
    voters: VoterWeights

    def __iter__(self) -> Iterator[Block]:
        for voter, a, b, label, count in self.blocks:
            yield voter, a, b, label, count * self.voters.weight[np.searchsorted(self.voters.voter, voter)]


def _solve(fitted: Fit, blocks: Iterable[Block]) -> tuple[np.ndarray, float]:
    """Return (M,) log-odds of sincere votes, and the share of careless voters, at the fixed point of `_passed`.

    Of three passes the third begins as far along the way of the first two as they promise (SQUAREM; Varadhan and
    Roland, 2008, 10.1111/j.1467-9469.2007.00585.x). Alone they creep, and end too early, where voters gave few votes.
    """
    point = np.append(fitted.log_odds, math.log(0.1 / 0.9))
    for _ in range(40):
        first_pass = _passed(fitted, blocks, point)
        if _moved(point, first_pass) < STILL:
            return first_pass[:-1], float(sigmoid(first_pass[-1]))
        twice = _passed(fitted, blocks, first_pass)
        step, turn = first_pass - point, twice - 2 * first_pass + point
        length, bend = float(np.linalg.norm(step)), float(np.linalg.norm(turn))
        stride = max(1.0, length / bend) if length < LONGEST * bend else LONGEST
        point = point + 2 * stride * step + stride**2 * turn
    raise NotConverged("the fit of voters' reliability did not converge in 80 passes.")


def _moved(point: np.ndarray, new_point: np.ndarray) -> float:
    """Return the largest change of a rating in points, or of the share of careless voters in percent."""
    ratings = float(SCALE * np.abs(new_point[:-1] - point[:-1]).max(initial=0))
    return max(ratings, 100 * abs(float(sigmoid(new_point[-1]) - sigmoid(point[-1]))))


def _passed(fitted: Fit, blocks: Iterable[Block], point: np.ndarray) -> np.ndarray:
    """Return (M + 1,) one pass of expectation and maximisation: log-odds, then the logit of the share of careless
    voters."""
    sincere, expected, voters = _expectation(blocks, point[:-1], float(sigmoid(point[-1])))
    if voters < 2:
        raise ValueError(f"how reliable voters are takes two voters at least, and there is {voters}.")
    log_odds, _ = solve_groups(sincere + half_wins(fitted.tally.wins + fitted.tally.ties / 2), fitted.log_odds)
    share = (expected + 1) / (voters + 10)  # as if one of nine had been seen: so few voters cannot all be careless
    return np.append(log_odds, math.log(share / (1 - share)))


def _expectation(blocks: Iterable[Block], log_odds: np.ndarray, careless: float) -> tuple[np.ndarray, float, int]:
    """Return (M, M) wins, ties as half, each by the chance that it was sincere; expected careless voters; all
    voters."""
    size = len(log_odds)
    chance = sigmoid(log_odds[:, None] - log_odds[None, :])
    sincere, expected, voters = np.zeros((size, size)), 0.0, 0
    for rows in whole_voters(blocks, size):
        density, share = _density(rows, chance, careless)
        for e, of_voter in zip(GRID, density, strict=True):
            tally = Tally(tuple(range(size)), _cells(rows, of_voter[rows.owner] * rows.times, size))
            sincere += (1 - e) * chance / ((1 - e) * chance + e / 2) * (tally.wins + tally.ties / 2)
        expected, voters = expected + float(share.sum()), voters + rows.owners
    return sincere, expected, voters


def _cells(rows: Rows, weight: np.ndarray, size: int) -> np.ndarray:
    """Return (M, M, 4) weights summed as a tally's cells."""
    cell = (rows.a * size + rows.b) * len(LABELS) + rows.label
    return np.bincount(cell, weights=weight, minlength=size * size * len(LABELS)).reshape(size, size, len(LABELS))


def _density(rows: Rows, chance: np.ndarray, careless: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (grid, voters) posterior of eᵥ, summing to 1, and (voters,) the posterior chance of being careless."""
    log, cell = np.empty((len(GRID), rows.owners)), (rows.a * len(chance) + rows.b) * len(LABELS) + rows.label
    for row, e in enumerate(GRID):
        log_win = np.log((1 - e) * chance + e / 2)  # by pair: cheaper than by vote
        outcome = np.stack([log_win, log_win.T, (log_win + log_win.T) / 2, (log_win + log_win.T) / 2], axis=-1).ravel()
        log_likelihood = outcome[cell] * rows.times
        log[row] = np.bincount(rows.owner, weights=log_likelihood, minlength=rows.owners)
    likely = np.exp(log - log.max(axis=0))
    parts = [(1 - careless) * _beta(CAREFUL)[:, None] * likely, careless * _beta(CARELESS)[:, None] * likely]
    density = parts[0] + parts[1]
    return density / density.sum(axis=0), parts[1].sum(axis=0) / density.sum(axis=0)


def _beta(shape: tuple[float, float]) -> np.ndarray:
    """Return (grid,) Beta density, summing to 1."""
    density = GRID ** (shape[0] - 1) * (1 - GRID) ** (shape[1] - 1)
    return np.asarray(density / density.sum())


def _voters(blocks: Iterable[Block], log_odds: np.ndarray, careless: float) -> VoterWeights:
    """Return each voter's eᵥ, given the ratings."""
    chance = sigmoid(log_odds[:, None] - log_odds[None, :])
    voter = np.unique(np.concatenate([np.unique(block[0]) for block in blocks]))
    columns: list[list[np.ndarray]] = [[], [], [], []]
    for rows in whole_voters(blocks, len(log_odds)):
        density, _ = _density(rows, chance, careless)
        cumulated = np.cumsum(density, axis=0)
        votes = np.bincount(rows.owner, weights=rows.times, minlength=rows.owners)
        figures = (votes, GRID @ density, _quantile(cumulated, 0.025), _quantile(cumulated, 0.975))
        for column, values in zip(columns, figures, strict=True):
            column.append(values)
    return VoterWeights(voter, *(np.concatenate(column) for column in columns))


def _quantile(cumulated: np.ndarray, level: float) -> np.ndarray:
    """Return (voters,) where the cumulated density (grid, voters) passes the level, evenly within a cell of the
    grid."""
    cell = (cumulated < level).sum(axis=0)
    columns = np.arange(cumulated.shape[1])
    cumulated_below = np.where(cell > 0, cumulated[cell - 1, columns], 0.0)
    fraction = (level - cumulated_below) / (cumulated[cell, columns] - cumulated_below)
    return (cell + fraction) / len(GRID)
