"""Arenas with known strengths: people with tastes of their own vote, more than once, and often call it a tie.

A voter's mean score for A against B is σ(r_A + t_A − r_B − t_B), with tastes t drawn once for each voter and model.
Ties (some of them both-bad) replace a share κ of the underdog's coin, so that the mean score stays what it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluation.ratings import Tally, tally_indices
from evaluation.ratings.bradley_terry import SCALE, sigmoid, solve


@dataclass(frozen=True)
class Arena:
    """Votes as arrays (N,), voters ascending, among `size` models."""

    size: int
    voter: np.ndarray
    a: np.ndarray
    b: np.ndarray
    label: np.ndarray

    @property
    def tally(self) -> Tally:
        return Tally(tuple(range(self.size)), tally_indices(self.a, self.b, self.label, self.size))

    @property
    def block(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self.voter, self.a, self.b, self.label, np.ones(len(self.a), dtype=np.int64)

    def joined(self, other: Arena) -> Arena:
        """The other's voters after this one's."""
        later = other.voter + int(self.voter.max(initial=-1)) + 1
        return Arena(
            self.size,
            np.r_[self.voter, later],
            *(np.r_[x, y] for x, y in ((self.a, other.a), (self.b, other.b), (self.label, other.label))),
        )


def draw_arena(
    strengths: np.ndarray, votes_of: np.ndarray, random: np.random.Generator, ties: float = 0.0, taste: float = 0.0
) -> Arena:
    """`votes_of` (V,) is how often each voter votes, on pairs drawn evenly; `ties` is κ, `taste` in log-odds."""
    voter, size = np.repeat(np.arange(len(votes_of)), votes_of), len(strengths)
    a = random.integers(0, size, len(voter))
    b = (a + random.integers(1, size, len(voter))) % size
    liked = strengths + taste * random.standard_normal((len(votes_of), size))
    chance = sigmoid(liked[voter, a] - liked[voter, b])
    return Arena(size, voter, a, b, draw_labels(chance, ties, random))


def draw_labels(chance: np.ndarray, ties: float, random: np.random.Generator) -> np.ndarray:
    """(N,) indices of LABELS with mean score `chance` for A; a third of the ties are both-bads."""
    level = 2 * ties * np.minimum(chance, 1 - chance)
    drawn, bad = random.random(len(chance)), random.random(len(chance)) < 1 / 3
    a_wins, b_wins = drawn < chance - level / 2, drawn >= chance + level / 2
    return np.where(a_wins, 0, np.where(b_wins, 1, np.where(bad, 3, 2)))


def true_ratings(strengths: np.ndarray, taste: float) -> np.ndarray:
    """(M,) centred, in points: what a fit to endless votes of all people on evenly drawn pairs would find.

    With tastes the mean of the curve is flatter than the curve of the mean, and this is what is to be estimated.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    gaps = strengths[:, None] - strengths[None, :]
    mean = (sigmoid(gaps[:, :, None] + np.sqrt(2) * taste * nodes) * weights).sum(axis=2) / weights.sum()
    np.fill_diagonal(mean, 0)
    return SCALE * solve(mean, np.zeros(len(strengths)))


def uneven(voters: int, mean: float, random: np.random.Generator) -> np.ndarray:
    """(V,) votes per voter, at least one: most give few, some give many (geometric)."""
    return random.geometric(1 / mean, voters)
