"""How long ratings take: 1 million votes × 100 models, and optionally choix on the same votes.

    python benchmarks/ratings.py [--votes 1000000] [--models 100] [--choix]

Prints one line per step, the median of three. choix (pip install choix) does not know ties: it is given the decisive
votes alone, as one pair each, which is what its interface takes. One BLAS thread: on a busy machine the threads of
so small systems wait for each other longer than they compute.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from evaluation.ratings import Tally, bootstrap, fit, tally_indices


def draw_votes(votes: int, models: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voters who follow Bradley-Terry, a fifth of them undecided: A, B and the label, as indices."""
    random = np.random.default_rng(0)
    strength = random.normal(0, 0.8, models)
    a = random.integers(0, models, votes)
    b = (a + random.integers(1, models, votes)) % models
    wins = random.random(votes) < 1 / (1 + np.exp(strength[b] - strength[a]))
    return a, b, np.where(random.random(votes) < 0.2, 2, np.where(wins, 0, 1))


def timed(name: str, work: Callable[[], Any], repeats: int = 3) -> Any:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    print(f"{name:<32} {1000 * statistics.median(seconds):10.1f} ms")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--votes", type=int, default=1_000_000)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--choix", action="store_true", help="also time choix.ilsr_pairwise, if it is installed")
    options = parser.parse_args()
    a, b, said = draw_votes(options.votes, options.models)
    cells = timed("tally (bincount)", lambda: tally_indices(a, b, said, options.models))
    tally = Tally(tuple(range(options.models)), cells)
    fitted = timed("fit and sandwich covariance", lambda: fit(tally))
    timed("ranks from all differences", fitted.ranks)
    timed("100 bootstraps", lambda: bootstrap(fitted, 100), repeats=1)
    if options.choix:
        import choix

        decisive = said < 2
        first = np.where(said == 0, a, b)[decisive].tolist()
        second = np.where(said == 0, b, a)[decisive].tolist()
        pairs = list(zip(first, second, strict=True))
        timed("choix.ilsr_pairwise", lambda: choix.ilsr_pairwise(options.models, pairs, alpha=0.01), repeats=1)


if __name__ == "__main__":
    main()
