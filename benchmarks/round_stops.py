"""Count how often a round stops the rounds: `python -m benchmarks.round_stops --rounds 2000`.

Simulated rounds go through what the rule reads: votes between a round's model and the one before, of voters with tastes
of their own, with ties; a fit with intervals by voters; the upper end against the gain of the plan. Beside it stands
what the plan says beforehand of a round without any gain.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import product

import numpy as np

from benchmarks.simulated_arenas import draw_labels
from evaluation.ratings.bradley_terry import SCALE, sigmoid
from evaluation.rounds.stop_rules import Gain, power
from evaluation.rounds.vote_fits import gain_from

WORTH = 50.0  # points: the gain of the plan
TASTE, TIES = 40.0, 0.3


def simulate(true_gain: float, votes: int, voters: int, random: np.random.Generator) -> Gain | None:
    """Return the gain that one round's votes show."""
    taste = TASTE / SCALE * random.standard_normal((voters, 2))
    voter = np.sort(np.arange(votes) % voters if voters == votes else random.integers(0, voters, votes))
    a = random.integers(0, 2, votes)
    liked = taste + np.array([0.0, true_gain / SCALE])
    chance = sigmoid(liked[voter, a] - liked[voter, 1 - a])
    return gain_from((voter, a, 1 - a, draw_labels(chance, TIES, random)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000, help="simulated rounds of each row")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    for number, (votes, voters) in enumerate(product((100, 200, 400), (0, 24))):
        stopped, covered = {}, {}
        for gain in (0.0, WORTH, 2 * WORTH):
            random = np.random.default_rng((given.seed, number, int(gain)))
            found = [simulate(gain, votes, voters or votes, random) for _ in range(given.rounds)]
            read = [one for one in found if one is not None]
            stopped[f"stopped at {gain:g}"] = 100 * sum(one.excludes(WORTH) for one in read) / given.rounds
            covered[f"covered at {gain:g}"] = 100 * sum(
                one.lower is None or one.upper is None or one.lower <= gain <= one.upper for one in read
            ) / given.rounds  # fmt: skip
        row = {"votes": votes, "voters": voters or votes, "said": round(100 * power(votes, WORTH), 1)}
        print(json.dumps({**row, **stopped, **covered, "seconds": round(time.process_time())}), flush=True)


if __name__ == "__main__":
    main()
