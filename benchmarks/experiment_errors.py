"""Count the errors of an experiment's verdict: `python -m benchmarks.experiment_errors --arenas 2000`.

Simulated experiments go through what the page goes through: models with an effect of luck, the base too (its answers
are drawn as well), voters with tastes of their own, pairs drawn by what they teach, a fit with intervals by voters, and
the step-down max-T. Where all arms are equal the family-wise error must be at most alpha; where one arm is better, the
power is how often it is told.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.simulated_arenas import draw_labels
from evaluation.experiments.arm_ratings import SeedSpread, arm_means, combine, seed_spread
from evaluation.experiments.family_tests import AGAINST_BASELINE, ALL_PAIRS, compared, comparisons, judged_at_once
from evaluation.ratings import Tally, tally_indices
from evaluation.ratings.bradley_terry import SCALE, NotConverged, fit, sigmoid
from evaluation.ratings.information_gain import pair_probabilities, weigh_pairs
from evaluation.ratings.voter_clusters import by_voters

ALPHA = 0.05
DRAWS = 4_000
ROUNDS = 6  # how often the pairs' rates are computed anew while votes come in


@dataclass(frozen=True)
class Design:
    """An experiment: a base without training, and `arms` of `seeds` models each. Points are rating points."""

    arms: int = 5
    seeds: int = 3
    votes: int = 600
    voters: int = 30
    seed_points: float = 0.0
    gain_points: float = 0.0  # of the first arm
    taste_points: float = 40.0  # deviation of a voter's own liking for a model
    ties: float = 0.3
    family: str = AGAINST_BASELINE
    uneven_seeds: bool = False  # all of the spread in one arm, and none in the base

    @property
    def arm(self) -> np.ndarray:
        return np.r_[0, np.repeat(np.arange(1, self.arms + 1), self.seeds)]


DESIGNS = (
    *(Design(seed_points=points) for points in (0, 20, 40)),
    Design(seed_points=40, seeds=2),
    Design(seed_points=40, seeds=5),
    Design(seed_points=40, voters=8, votes=600),
    Design(seed_points=40, family=ALL_PAIRS),
    Design(seed_points=40, uneven_seeds=True),
    Design(seed_points=40, uneven_seeds=True, family=ALL_PAIRS),
)
POWERS = tuple(
    Design(seed_points=points, gain_points=gain, votes=votes)
    for points in (0, 40)
    for votes in (600, 2400)
    for gain in (60, 120)
)


@dataclass(frozen=True)
class Verdict:
    """What one simulated experiment said: by the family's test, by single 95 % tests, and by votes without seeds."""

    at_once: np.ndarray
    singly: np.ndarray
    without_seeds: np.ndarray
    pairs: list[tuple[int, int]]


def simulate(design: Design, random: np.random.Generator) -> Verdict:
    """Return the verdict of one experiment, from votes on."""
    arm, size = design.arm, len(design.arm)
    spread = np.where(arm == 1, np.sqrt(design.arms), 0.0) if design.uneven_seeds else np.ones(size)
    effects = design.seed_points * spread * random.standard_normal(size)
    strengths = (effects + design.gain_points * (arm == 1)) / SCALE
    liked = strengths + design.taste_points / SCALE * random.standard_normal((design.voters, size))
    voter, a, b, label = (np.zeros(0, dtype=np.int64) for _ in range(4))
    pairs = [(0, model) for model in range(1, size)]
    matters = weigh_pairs(list(range(size)), [(x, y, 1.0) for x, y in pairs])
    for count in np.diff(np.linspace(0, design.votes, ROUNDS + 1).astype(int)):
        fitted = fit(Tally(tuple(range(size)), tally_indices(a, b, label, size))) if len(a) else None
        rates = pair_probabilities(fitted, list(range(size)), matters)
        at = random.choice(size * size, count, p=rates.ravel())
        new_a, new_b = np.divmod(at, size)
        new_voter = random.integers(0, design.voters, count)
        chance = sigmoid(liked[new_voter, new_a] - liked[new_voter, new_b])
        new_label = draw_labels(chance, design.ties, random)
        voter, a, b, label = (np.r_[x, y] for x, y in ((voter, new_voter), (a, new_a), (b, new_b), (label, new_label)))
    order = np.argsort(voter, kind="stable")
    tally = Tally(tuple(range(size)), tally_indices(a, b, label, size))
    block = (voter[order], a[order], b[order], label[order], np.ones(len(a), dtype=np.int64))
    fitted, voters = by_voters(fit(tally), [block])
    return judge(design, fitted.rating, fitted.covariance, voters.effective if voters.repeat else math.inf)


def judge(design: Design, rating: np.ndarray, covariance: np.ndarray, voters: float) -> Verdict:
    arm = design.arm
    is_seeded, means = np.ones(len(arm), dtype=bool), arm_means(arm, design.arms + 1)
    pairs = comparisons(list(range(design.arms + 1)), 0, design.family)
    weights = compared(means, pairs)
    spread = seed_spread(rating, covariance, arm, is_seeded)
    of = combine(weights, rating, covariance, is_seeded, spread, voters, DRAWS)
    votes_alone = combine(weights, rating, covariance, is_seeded, SeedSpread(0, 0, 0), voters, DRAWS)
    return Verdict(
        judged_at_once(of, ALPHA).is_different(ALPHA),
        np.abs(of.value) > of.reach,
        np.abs(votes_alone.value) > votes_alone.reach,
        pairs,
    )


def rows(arenas: int, seed: int, designs: Sequence[Design], first: int = 0) -> Iterator[dict[str, Any]]:
    """Yield a row for each design: percentages of experiments in which an equal arm was called different, and in which
    the better one was told; without a gain nobody is better."""
    for number, design in enumerate(designs, first):
        random = np.random.default_rng((seed, number))
        wrong, told, done = np.zeros(3), 0, 0
        for _ in range(arenas):
            try:
                verdict = simulate(design, random)
            except NotConverged:
                continue
            is_equal = np.array([not design.gain_points or 1 not in pair for pair in verdict.pairs])
            found = (verdict.at_once, verdict.singly, verdict.without_seeds)
            wrong += [bool((one & is_equal).any()) for one in found]
            told += bool((verdict.at_once & ~is_equal).any())
            done += 1
        yield {
            "seed sd": design.seed_points,
            "spread": "one arm" if design.uneven_seeds else "all arms",
            "gain": design.gain_points,
            "seeds": design.seeds,
            "votes": design.votes,
            "voters": design.voters,
            "family": design.family,
            "experiments": done,
            "family-wise": float(100 * wrong[0] / done),
            "single tests": float(100 * wrong[1] / done),
            "single, without seeds": float(100 * wrong[2] / done),
            "power": 100 * told / done if design.gain_points else None,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arenas", type=int, default=2000, help="simulated experiments of each design")
    parser.add_argument("--powers", type=int, default=400, help="the same, of designs with a real difference")
    parser.add_argument("--first", type=int, default=0, help="of the designs, in their order: from this one …")
    parser.add_argument("--last", type=int, default=len(DESIGNS) + len(POWERS) - 1, help="… to this one")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    for number, design in enumerate((*DESIGNS, *POWERS)):
        if given.first <= number <= given.last:
            arenas = given.powers if design.gain_points else given.arenas
            for row in rows(arenas, given.seed, [design], number):
                print(json.dumps({**row, "seconds": round(time.process_time())}), flush=True)


if __name__ == "__main__":
    main()
