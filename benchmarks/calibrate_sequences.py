"""How often a confidence sequence that is looked at after every vote is ever wrong, and how soon it decides."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from evaluation.ratings.bradley_terry import sigmoid
from evaluation.ratings.confidence_sequence import log_e_above, log_e_at, one_vote_each

ALPHA = 0.05
AT_ONCE = 100  # streams
TASTE = 1.1  # log-odds of a voter between the two: tastes of 0.8 for either model
MEANS = ((0.5, 0.0), (0.5, 0.3), (0.5, 0.8), (0.65, 0.0), (0.65, 0.3), (0.9, 0.0), (0.9, 0.1))
BETTER = ((0.55, 0.0), (0.55, 0.4), (0.6, 0.0), (0.6, 0.4), (0.75, 0.2))


def sequence_rows(streams: int, votes: int, seed: int, means: tuple = MEANS) -> Iterator[dict[str, Any]]:
    """One row for each true mean score and share of ties; beside it, a fixed interval that is looked at as often."""
    for number, (mean, ties) in enumerate(means):
        random = np.random.default_rng((seed, 1, number))
        wrong = np.zeros(3)
        for counts in _streams(streams, votes, mean, ties, random):
            wrong += [part.any(axis=1).sum() for part in _wrong(*counts, mean)]
        both, one_sided, fixed = 100 * wrong / streams
        yield {
            "mean score": mean,
            "ties": ties,
            "sequence": both,
            "one-sided": one_sided,
            "fixed interval read as often": fixed,
        }


def power_rows(streams: int, votes: int, seed: int, better: tuple = BETTER) -> Iterator[dict[str, Any]]:
    """Votes until ½ is excluded: the median, and those a fixed test needs for a power of 50 % and of 80 %."""
    for number, (mean, ties) in enumerate(better):
        random = np.random.default_rng((seed, 2, number))
        times = []
        for wins, level, losses in _streams(streams, votes, mean, ties, random):
            decided = log_e_at(wins, level, losses, 0.5) >= math.log(1 / ALPHA)
            times.append(np.where(decided.any(axis=1), decided.argmax(axis=1) + 1, math.inf))
        stopped = np.concatenate(times)
        spread = (mean - ties / 2) + ties / 4 - mean**2
        yield {
            "mean score": mean,
            "ties": ties,
            "median": float(np.quantile(stopped, 0.5, method="higher")),
            "80 % by": float(np.quantile(stopped, 0.8, method="higher")),
            "fixed test, 50 %": math.ceil(_fixed(mean, spread, 0.0)),
            "fixed test, 80 %": math.ceil(_fixed(mean, spread, 0.8416)),
        }


def _streams(streams: int, votes: int, mean: float, ties: float, random: np.random.Generator) -> Iterator[tuple]:
    """(AT_ONCE, votes) wins, ties and losses so far."""
    looks = np.arange(1, votes + 1)
    for begin in range(0, streams, AT_ONCE):
        drawn = random.random((min(AT_ONCE, streams - begin), votes))
        wins = (drawn < mean - ties / 2).cumsum(axis=1)
        level = (drawn >= 1 - ties).cumsum(axis=1)
        yield wins, level, looks - wins - level


def _wrong(wins: np.ndarray, level: np.ndarray, losses: np.ndarray, mean: float) -> tuple[np.ndarray, ...]:
    """At each look: is the truth outside the sequence, below its one-sided bound, outside the usual interval?"""
    limit, votes = math.log(1 / ALPHA), wins + level + losses
    seen = (wins + level / 2) / votes
    error = np.sqrt(np.maximum((wins + level / 4) / votes - seen**2, 0) / votes)
    usual = (np.abs(seen - mean) > 1.96 * error) & (votes >= 30)
    return (
        log_e_at(wins, level, losses, mean) >= limit,
        log_e_above(wins, level, losses, mean) >= limit,
        usual,
    )


def _fixed(mean: float, spread: float, power: float) -> float:
    """Votes at which a two-sided 5 % test of the mean score, read once, decides with that power."""
    return ((1.96 + power) / (mean - 0.5)) ** 2 * spread


def repeated_rows(streams: int, seed: int, voters: tuple[int, ...] = (10, 30, 100)) -> Iterator[dict[str, Any]]:
    """Even pairs judged by few people with tastes of their own: all their votes, against each one's first vote."""
    for number, people in enumerate(voters):
        random, wrong = np.random.default_rng((seed, 5, number)), np.zeros(2)
        for _ in range(streams):
            voter = random.integers(0, people, 1000)
            wins = random.random(1000) < sigmoid(TASTE * random.standard_normal(people))[voter]
            first = one_vote_each(voter, np.zeros(1000, int), np.ones(1000, int))
            wrong += [_ever_wrong(wins), _ever_wrong(wins[first])]
        all_votes, first_votes = 100 * wrong / streams
        yield {"voters": people, "votes": 1000, "all votes": all_votes, "first votes": first_votes}


def _ever_wrong(wins: np.ndarray) -> bool:
    won, looks = wins.cumsum(), np.arange(1, len(wins) + 1)
    return bool((log_e_at(won, np.zeros_like(won), looks - won, 0.5) >= math.log(1 / ALPHA)).any())
