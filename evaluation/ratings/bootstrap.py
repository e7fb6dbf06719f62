"""Ratings of resampled votes: an interval that assumes nothing of the fit's covariance."""

from __future__ import annotations

import numpy as np

from .fit import CENTRE, SCALE, Fit, half_wins, solve_groups
from .tally import Tally


def bootstrap(fitted: Fit, draws: int = 100, seed: int = 0) -> np.ndarray:
    """(draws, M) ratings of votes drawn anew with replacement, the same for the same seed.

    A draw costs the models' pairs and not the votes: it is one multinomial over the filled cells. A draw in which a
    group of models falls apart cannot say where its parts stand to each other, and is NaN for that group.
    """
    random = np.random.default_rng(seed)
    cells = fitted.tally.cells
    filled = np.nonzero(cells)
    counts = cells[filled]
    start = (fitted.rating - CENTRE) / SCALE
    ratings = np.full((draws, len(fitted.models)), np.nan)
    for row in range(draws):
        drawn = np.zeros_like(cells)
        drawn[filled] = random.multinomial(int(counts.sum()), counts / counts.sum())
        scores = _scores(Tally(fitted.models, drawn))
        log_odds, group = solve_groups(scores + half_wins(scores), start)
        whole = [_is_whole(group, fitted.group, model) for model in range(len(start))]
        ratings[row] = np.where(whole, CENTRE + SCALE * log_odds, np.nan)
    return ratings


def _scores(tally: Tally) -> np.ndarray:
    return tally.wins + tally.ties / 2


def _is_whole(drawn: np.ndarray, full: np.ndarray, model: int) -> bool:
    """Is the model's group still joined by the votes of the draw?"""
    return bool((drawn[full == full[model]] == drawn[model]).all())
