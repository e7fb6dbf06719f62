"""Figures of a judge model: how far it agrees with people, and which answers it favours beyond what people do.

Points are those of the answer with the lower id: 1, 0, or a half for a tie. Intervals of 95 % go by persons and by
prompts together (`evaluation.metrics.win_rates`); those of the judge alone go by prompts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.win_rates import clustered_mean, win_rate

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """A figure of `n` votes or pairs; `beside` is what it is compared with, of people or of chance."""

    value: float
    lower: float | None
    upper: float | None
    n: int
    beside: float | None = None

    @property
    def is_apart(self) -> bool:
        """Return whether the interval leaves out what it is compared with."""
        if self.beside is None or self.lower is None or self.upper is None:
            return False
        return not self.lower <= self.beside <= self.upper


@dataclass(frozen=True)
class SeenVotes:
    """Votes (n,) of people on pairs that the judge judged, too: `points` are theirs, `verdict` the judge's, `pair` the
    two answers."""

    points: Array
    verdict: Array
    person: Sequence[Hashable]
    prompt: Sequence[Hashable]
    pair: Sequence[Hashable]

    def where(self, chosen: NDArray[np.bool_]) -> SeenVotes:
        at = np.flatnonzero(chosen)
        labels = ([column[i] for i in at.tolist()] for column in (self.person, self.prompt, self.pair))
        return SeenVotes(self.points[at], self.verdict[at], *labels)


def agreement(votes: SeenVotes) -> Figure | None:
    """Return the share of people's votes for a winner that the judge's verdict matches, a tie of it as half; beside it
    the same of other people's votes on the same pairs. None without such votes."""
    decided = votes.where(votes.points != 0.5)
    if not len(decided.points):
        return None
    matched = 1 - np.abs(decided.points - decided.verdict)
    rate = win_rate(matched, decided.person, decided.prompt)
    return Figure(rate.value, rate.lower, rate.upper, rate.n, _among_people(votes))


def same_outcome(votes: SeenVotes) -> Figure | None:
    """Return the share of all votes, ties included, whose outcome is the judge's."""
    if not len(votes.points):
        return None
    rate = win_rate((votes.points == votes.verdict).astype(float), votes.person, votes.prompt)
    return Figure(rate.value, rate.lower, rate.upper, rate.n)


def _among_people(votes: SeenVotes) -> float | None:
    """Return the same agreement of a person with the other persons who voted on the same pair; None without such."""
    by_pair: dict[Hashable, list[int]] = defaultdict(list)
    for index, pair in enumerate(votes.pair):
        by_pair[pair].append(index)
    matched = [
        float(np.mean([1 - abs(votes.points[i] - votes.points[j]) for j in others]))
        for places in by_pair.values()
        for i in places
        if votes.points[i] != 0.5 and (others := [j for j in places if votes.person[j] != votes.person[i]])
    ]
    return float(np.mean(matched)) if matched else None


def share(values: Sequence[float] | Array, prompts: Sequence[Hashable], beside: float | None = None) -> Figure | None:
    """Return the mean of numbers in 0 to 1 of the judge alone, by prompts; None without any."""
    if not len(values):
        return None
    rate = win_rate(values, [0] * len(values), prompts)
    return Figure(rate.value, rate.lower, rate.upper, rate.n, beside)


def lean(votes: SeenVotes, favoured: Array) -> Figure | None:
    """Return by how much more the judge favours an answer than people do on the same pairs: the mean difference of the
    points of the answer that `favoured` (n,) names, 1 the first and -1 the second, 0 neither. None without such."""
    chosen = votes.where(favoured != 0)
    if not len(chosen.points):
        return None
    difference = favoured[favoured != 0] * (chosen.verdict - chosen.points)
    mean = clustered_mean(difference, chosen.person, chosen.prompt)
    value = float(difference.mean())
    return Figure(value, mean.lower if mean else None, mean.upper if mean else None, len(difference), 0.0)


def gain(now: SeenVotes, then: SeenVotes) -> Figure | None:
    """Return by how much `now` agrees more with people's votes for a winner than `then`, on the same votes."""
    decided = now.points != 0.5
    if not decided.any():
        return None
    chosen = now.where(decided)
    difference = np.abs(then.points - then.verdict)[decided] - np.abs(chosen.points - chosen.verdict)
    mean = clustered_mean(difference, chosen.person, chosen.prompt)
    lower, upper = (mean.lower, mean.upper) if mean else (None, None)
    return Figure(float(difference.mean()), lower, upper, len(difference), 0.0)


def change(differences: Array, prompts: Sequence[Hashable]) -> Figure:
    """Return the mean of differences (n,) of the judge alone, now less then, by prompts."""
    mean = clustered_mean(differences, [0] * len(differences), prompts)
    lower, upper = (mean.lower, mean.upper) if mean else (None, None)
    return Figure(float(differences.mean()), lower, upper, len(differences), 0.0)
