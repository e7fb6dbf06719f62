"""Read the votes block by block for style control: the survey, Newton's sums, and the squared scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from evaluation.ratings.bradley_terry import half_wins, laplacian, sigmoid, squared_scores, tie_bridges
from evaluation.ratings.tally import Tally, tally_indices
from evaluation.ratings.voter_clusters import SCORE, Block, Voters, renumbered, summed_scores, voters_at_once

Sums = tuple[float, np.ndarray, np.ndarray]


class StyledVotes(NamedTuple):
    """A block of votes.

    `a`, `b` (n,) places in the models; `label` (n,) in LABELS; `difference` (n, k), a column for each feature; `voter`
    (n,) who said it, ascending over all blocks, or None where every vote stands for itself.
    """

    a: np.ndarray
    b: np.ndarray
    label: np.ndarray
    difference: np.ndarray
    voter: np.ndarray | None = None


@dataclass(frozen=True)
class Survey:
    """The result of one pass: for each feature (k,) its differences' deviation, the largest one, how many are not 0."""

    tally: Tally
    deviation: np.ndarray
    largest: np.ndarray
    differing: np.ndarray
    voters_are_told: bool


def survey(models: tuple[object, ...], blocks: Iterable[StyledVotes], width: int) -> Survey:
    """Return the survey of the votes. Raises ValueError on bad blocks, and without votes."""
    cells, count, names_voters = np.zeros((len(models), len(models), 4)), 0, set()
    total, squared, largest, differing = np.zeros((4, width))
    for block in blocks:
        difference = _checked(block, width)
        names_voters.add(block.voter is not None)
        cells += tally_indices(block.a, block.b, block.label, len(models))
        count += len(difference)
        total, squared = total + difference.sum(axis=0), squared + (difference**2).sum(axis=0)
        largest = np.maximum(largest, np.abs(difference).max(axis=0, initial=0))
        differing = differing + (difference != 0).sum(axis=0)
    if not count:
        raise ValueError("there is nothing to rate: give at least one vote.")
    if len(names_voters) > 1:
        raise ValueError("some blocks say who voted and some do not: give voter in all, or in none.")
    variance = squared / count - (total / count) ** 2
    deviation = np.sqrt(np.where(variance > 1e-12, variance, 0.0))
    return Survey(Tally(models, cells), deviation, largest, differing, names_voters.pop())


def _checked(block: StyledVotes, width: int) -> np.ndarray:
    difference = np.asarray(block.difference, dtype=float)
    if difference.shape != (len(block.a), width):
        raise ValueError(f"difference must be (votes, {width} features): got {difference.shape}.")
    if not np.isfinite(difference).all():
        raise ValueError("difference has a value that is not a number: leave such votes out.")
    return difference


@dataclass(frozen=True)
class Problem:
    """Hold what every pass over the votes needs: the votes, the columns of differences in use, and their deviations."""

    blocks: Iterable[StyledVotes]
    tally: Tally
    group: np.ndarray
    used: np.ndarray
    deviation: np.ndarray

    @cached_property
    def added(self) -> np.ndarray:
        """Return (M, M) the half wins of the plain fit."""
        return half_wins(self.tally.wins + self.tally.ties / 2)

    @property
    def size(self) -> int:
        return len(self.tally.models)


def votes_alone(blocks: Iterable[StyledVotes]) -> Iterator[Block]:
    """Yield the votes without their style, as intervals by voters read them."""
    for block in blocks:
        assert block.voter is not None  # the survey has seen it
        yield block.voter, block.a, block.b, block.label, np.ones(len(block.a))


def centred(problem: Problem, point: np.ndarray) -> np.ndarray:
    """Return the same log-odds, each group's mean taken off."""
    ratings = point[: problem.size]
    means = np.bincount(problem.group, weights=ratings) / np.bincount(problem.group)
    return np.concatenate([ratings - means[problem.group], point[problem.size :]])


def newton(problem: Problem, point: np.ndarray) -> Sums:
    """Return, from one pass, the loss, the gradient (M + k,) of descent, and the Hessian, regular along each group."""
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


def _passes(problem: Problem, point: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield blocks as (a, b, z, score, gap, voter); voter is empty where votes stand for themselves."""
    for block in problem.blocks:
        a, b = np.asarray(block.a, dtype=np.int64), np.asarray(block.b, dtype=np.int64)
        z = np.asarray(block.difference, dtype=float)[:, problem.used] / problem.deviation
        gap = point[a] - point[b] + z @ point[problem.size :]
        yield a, b, z, SCORE[block.label], gap, np.zeros(0) if block.voter is None else np.asarray(block.voter)


def _collected(a: np.ndarray, b: np.ndarray, z: np.ndarray, weight: np.ndarray, size: int) -> np.ndarray:
    """Return (M + k,) Σ weight · x, where x = (eₐ − e_b, z) is a vote's row of the design."""
    ratings = np.bincount(a, weights=weight, minlength=size) - np.bincount(b, weights=weight, minlength=size)
    return np.concatenate([ratings, weight @ z])


def _crossed(a: np.ndarray, b: np.ndarray, z: np.ndarray, weight: np.ndarray, size: int) -> np.ndarray:
    """Return (M + k, M + k) Σ weight · x xᵀ."""
    edges = np.bincount(a * size + b, weights=weight, minlength=size * size).reshape(size, size)
    across = [_collected(a, b, z[:, :0], weight * column, size) for column in z.T]
    side = np.stack(across) if across else np.zeros((0, size))
    return np.block([[laplacian(edges + edges.T), side.T], [side, (z * weight[:, None]).T @ z]])


def covariance(problem: Problem, point: np.ndarray, voters: Voters | None) -> np.ndarray:
    """Return the sandwich (M + k, M + k), by voters when they are given."""
    size, added = problem.size, problem.added
    wins, ties = problem.tally.wins, problem.tally.ties
    squared = np.zeros((len(point), len(point)))
    bridges = added + tie_bridges(wins + added, ties)
    squared[:size, :size] = squared_scores(point[:size], bridges, np.zeros_like(ties))
    if voters:
        squared += voters.voters / (voters.voters - 1) * _squared_by_voters(problem, point)
    else:
        squared += _squared_by_votes(problem, point)
    inverse = np.linalg.inv(newton(problem, point)[2])
    return inverse @ squared @ inverse


def _squared_by_voters(problem: Problem, point: np.ndarray) -> np.ndarray:
    """Return (M + k, M + k) Σ s_v s_vᵀ, the scores of a voter's votes summed; a voter may go on in the next block."""
    total = np.zeros((len(point), len(point)))
    last, pending = None, np.zeros(len(point))
    for a, b, z, score, gap, voter in _passes(problem, point):
        residual = score - sigmoid(gap)
        for rows in voters_at_once(renumbered(voter), len(point)):
            style_residual = residual[rows] * z[rows].T
            sums = summed_scores(voter[rows], a[rows], b[rows], residual[rows], style_residual, problem.size)
            if voter[rows][0] == last:
                sums[0] += pending
            else:
                total += np.outer(pending, pending)
            total += sums[:-1].T @ sums[:-1]
            last, pending = voter[rows][-1], sums[-1]
    return total + np.outer(pending, pending)


def _squared_by_votes(problem: Problem, point: np.ndarray) -> np.ndarray:
    total = np.zeros((len(point), len(point)))
    for a, b, z, score, gap, _ in _passes(problem, point):
        total += _crossed(a, b, z, (score - sigmoid(gap)) ** 2, problem.size)
    return total
