"""How often 95 % intervals of ratings hold what is to be estimated, over arenas drawn anew each time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.simulated_arenas import draw_arena, true_ratings, uneven
from evaluation.ratings import Fit, bootstrap
from evaluation.ratings.bootstrap import intervals
from evaluation.ratings.bradley_terry import CENTRE, fit
from evaluation.ratings.voter_clusters import bootstrap_voters, by_voters


@dataclass(frozen=True)
class Setting:
    """An arena: `each` votes per voter on average, `ties` κ and `taste` as in `simulated_arenas`."""

    models: int
    voters: int
    each: float
    ties: float
    taste: float

    @property
    def name(self) -> str:
        people = "once each" if self.each == 1 else f"about {self.each:g} each"
        return f"{self.models} models, {self.voters} voters {people}"


SETTINGS = (
    Setting(models=4, voters=300, each=1, ties=0.0, taste=0.0),
    Setting(models=6, voters=800, each=1, ties=0.5, taste=0.0),
    Setting(models=20, voters=6000, each=1, ties=0.3, taste=0.0),
    Setting(models=5, voters=100, each=10, ties=0.0, taste=0.8),
    Setting(models=8, voters=300, each=15, ties=0.4, taste=0.8),
    Setting(models=5, voters=40, each=20, ties=0.3, taste=0.8),
)
DRAWS = 200


def interval_rows(arenas: int, seed: int, settings: tuple[Setting, ...] = SETTINGS) -> Iterator[dict[str, Any]]:
    """One row for each setting and kind of interval: coverage of ratings and of differences, and mean width."""
    for number, setting in enumerate(settings):
        held = [_held(setting, np.random.default_rng((seed, number, arena))) for arena in range(arenas)]
        for kind in held[0]:
            ratings, differences, width = np.mean([one[kind] for one in held], axis=0)
            yield {
                "arena": setting.name,
                "ties": setting.ties,
                "taste": setting.taste,
                "interval": kind,
                "ratings": 100 * ratings,
                "differences": 100 * differences,
                "width": width,
            }


def _held(setting: Setting, random: np.random.Generator) -> dict[str, tuple[float, float, float]]:
    """By kind: the shares of ratings and of differences that are held, and the mean width of the latter."""
    strengths = random.normal(0, 0.6, setting.models)
    votes_of = np.ones(setting.voters, int) if setting.each == 1 else uneven(setting.voters, setting.each, random)
    arena = draw_arena(strengths, votes_of, random, setting.ties, setting.taste)
    truth, fitted = true_ratings(strengths, setting.taste), fit(arena.tally)
    seed = int(random.integers(2**31))
    found = {"votes": _of_fit(fitted), "bootstrap": _of_draws(bootstrap(fitted, DRAWS, seed))}
    if setting.each > 1:
        clustered, voters = by_voters(fitted, [arena.block])
        found["voters"] = _of_fit(clustered)
        drawn = bootstrap_voters(fitted, [arena.block], DRAWS, seed)
        found["bootstrap voters"] = _of_draws(drawn, voters.effective)
    return {kind: _share(truth, *ends) for kind, ends in found.items()}


def _of_fit(fitted: Fit) -> tuple[np.ndarray, ...]:
    gap = fitted.rating[:, None] - fitted.rating[None, :]
    variance = np.diagonal(fitted.covariance)
    reach = fitted.critical * np.sqrt(np.maximum(variance[:, None] + variance[None, :] - 2 * fitted.covariance, 0))
    return fitted.lower, fitted.upper, gap - reach, gap + reach


def _of_draws(draws: np.ndarray, effective: float = math.inf) -> tuple[np.ndarray, ...]:
    found = intervals(draws, effective)
    return found.lower, found.upper, found.difference_lower, found.difference_upper


def _share(
    truth: np.ndarray, lower: np.ndarray, upper: np.ndarray, gap_lower: np.ndarray, gap_upper: np.ndarray
) -> tuple[float, float, float]:
    gap, pair = truth[:, None] - truth[None, :], np.triu_indices(len(truth), 1)
    ratings = (lower <= CENTRE + truth) & (CENTRE + truth <= upper)
    differences = ((gap_lower <= gap) & (gap <= gap_upper))[pair]
    return float(ratings.mean()), float(differences.mean()), float((gap_upper - gap_lower)[pair].mean())
