"""Rate resampled votes: intervals that assume nothing of the fit's covariance.

All draws are fitted together, by one iteration on an array of draws × models × models: a draw costs the
models' pairs and not the votes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from common.distributions import student95
from evaluation.ratings.bradley_terry import (
    CENTRE,
    SCALE,
    Fit,
    NotConverged,
    curvature,
    half_wins,
    sigmoid,
    solve_groups,
)

FEWEST = 6.0  # effective voters: in simulated arenas intervals of 3, 4, 5 and 6 held the truth 74, 87, 91 and 96 %
AT_ONCE = 500_000  # numbers in one array of draws × models × models: memory stays flat whatever the models and draws


@dataclass(frozen=True)
class Intervals:
    """95 % percentile intervals of draws; NaN where fewer than half of the draws could be rated, or with too few
    voters.

    `lower`, `upper` (M,) of ratings; `difference_lower`, `difference_upper` (M, M) of the row's less the column's;
    `missing` (M,) how many of the `draws` could not rate the model because its group fell apart.
    """

    lower: np.ndarray
    upper: np.ndarray
    difference_lower: np.ndarray
    difference_upper: np.ndarray
    missing: np.ndarray
    draws: int


def bootstrap(fitted: Fit, draws: int = 100, seed: int = 0) -> np.ndarray:
    """Return (draws, M) ratings of votes drawn anew with replacement, the same for the same seed.

    A draw is one multinomial over the filled cells, whatever the number of votes. A draw in which a group of models
    falls apart cannot say where its parts stand to each other, and is NaN for that group.
    """
    random = np.random.default_rng(seed)
    outcomes = np.stack([fitted.tally.wins, np.triu(fitted.tally.ties)])  # which side a model stood on is all one
    filled = np.flatnonzero(outcomes)
    counts = outcomes.ravel()[filled]
    ratings = np.empty((draws, len(fitted.models)))
    for rows in portions(draws, outcomes.size):
        resampled = np.zeros((rows.stop - rows.start, outcomes.size))
        resampled[:, filled] = random.multinomial(int(counts.sum()), counts / counts.sum(), size=len(resampled))
        wins, ties = np.moveaxis(resampled.reshape(-1, *outcomes.shape), 1, 0)
        ratings[rows] = refit(fitted, wins + (ties + np.swapaxes(ties, 1, 2)) / 2)
    return ratings


def refit(fitted: Fit, scores: np.ndarray) -> np.ndarray:
    """Return (draws, M) ratings from `scores` (draws, M, M), wins with ties as half, from the fitted ratings on.

    Models that the fit compares but a draw does not are NaN in it.
    """
    ratings = np.full(scores.shape[:2], np.nan)
    for number in range(fitted.group.max() + 1):
        members = np.flatnonzero(fitted.group == number)
        block = scores[:, members[:, None], members]
        log_odds = _together(block, fitted.log_odds[members])
        for draw in np.flatnonzero(np.isnan(log_odds).any(axis=1)):
            log_odds[draw] = _alone(block[draw], fitted.log_odds[members])
        ratings[:, members] = CENTRE + SCALE * log_odds
    return ratings


def intervals(draws: np.ndarray, effective: float = math.inf) -> Intervals:
    """Return percentile intervals of (draws, M) ratings and of all their differences, over the draws that have both.

    Percentiles of few units' draws are too narrow, as Student's quantile is wider than the normal one and as draws
    vary by (V−1)/V of what they should: for `effective` voters both are made good (Hesterberg, 2015,
    10.1080/00031305.2015.1089789, "expanded percentile interval"). Below FEWEST of them no percentile of their draws
    reaches far enough: no interval.
    """
    size = draws.shape[1]
    ends = np.full((2, size, size), np.nan)
    if effective < FEWEST:
        return Intervals(ends[0, 0], ends[1, 0], ends[0], ends[1], np.isnan(draws).sum(axis=0), len(draws))
    below = _tail(effective)
    for model in range(size):
        ends[:, model] = _ends(draws[:, [model]] - draws, below)
    lower, upper = _ends(draws, below)
    return Intervals(lower, upper, ends[0], ends[1], np.isnan(draws).sum(axis=0), len(draws))


def _tail(effective: float) -> float:
    """Return the share of draws below an interval: 2.5 %, and less for few voters."""
    if math.isinf(effective):
        return 0.025
    reach = student95(effective - 1) * math.sqrt(effective / (effective - 1))
    return 0.5 * math.erfc(reach / math.sqrt(2))


def portions(draws: int, size: int) -> Iterator[slice]:
    """Yield slices of draws of `size` numbers each, as many at once as memory allows."""
    step = max(1, AT_ONCE // size)
    return (slice(first, min(draws, first + step)) for first in range(0, draws, step))


def _ends(draws: np.ndarray, below: float) -> np.ndarray:
    """Return (2, M): the points that `below` of each column lies under, and over, its NaN left out; NaN where half is
    missing.

    Between draws at rank p·(n+1): so many lie outside that a further draw would with just these chances.
    """
    is_known = ~np.isnan(draws)
    ends = np.full((2, draws.shape[1]), np.nan)
    is_complete, levels = is_known.all(axis=0), (below, 1 - below)
    ends[:, is_complete] = np.quantile(draws[:, is_complete], levels, axis=0, method="weibull")
    for column in np.flatnonzero(~is_complete & (is_known.mean(axis=0) > 0.5)):
        ends[:, column] = np.quantile(draws[is_known[:, column], column], levels, method="weibull")
    return ends


def _together(scores: np.ndarray, start: np.ndarray, tolerance: float = 1e-10, steps: int = 60) -> np.ndarray:
    """Return (draws, m) log-odds by steps with the Hessian of the draws' mean; NaN where that does not converge.

    One inverse serves all draws, for they differ little from their mean; what is not strongly connected, or differs
    too much, is left to Newton's method proper.
    """
    log_odds = np.full(scores.shape[:2], np.nan)
    unsolved = np.flatnonzero(_is_joined(scores > 0))
    if not len(unsolved):
        return log_odds
    scores = scores[unsolved]
    played = scores + np.swapaxes(scores, 1, 2)
    won, total = scores.sum(axis=2), played.sum(axis=(1, 2))
    now = np.tile(start - start.mean(), (len(unsolved), 1))
    inverse = _inverse(played.mean(axis=0), now[0])
    for _ in range(steps):
        gradient = won - (played * sigmoid(now[:, :, None] - now[:, None, :])).sum(axis=2)
        worst = np.abs(gradient).max(axis=1)
        is_solved = worst <= tolerance * total
        log_odds[unsolved[is_solved]] = now[is_solved]
        keep = ~is_solved & np.isfinite(worst)  # what runs away is not followed
        if not keep.any():
            break
        if not keep.all():
            unsolved, now, played, won, total, gradient = (
                x[keep] for x in (unsolved, now, played, won, total, gradient)
            )
        now = now + gradient @ inverse * (total.mean() / total)[:, None]
    return log_odds


def _inverse(played: np.ndarray, log_odds: np.ndarray) -> np.ndarray:
    """Return (m, m) pseudo-inverse of the Hessian: what a centred gradient asks for is centred too."""
    size = len(log_odds)
    hessian = curvature(played, sigmoid(log_odds[:, None] - log_odds[None, :]))
    return np.linalg.inv(hessian + 1 / size) - 1 / size


def _is_joined(beats: np.ndarray) -> np.ndarray:
    """Return (draws,) whether every model reaches every other. By squaring: paths of up to 1, 2, 4, … steps."""
    size = beats.shape[1]
    reach = (beats | np.eye(size, dtype=bool)).astype(np.float32)
    for _ in range(max(1, int(size - 1).bit_length())):
        if reach.all():
            break
        reach = (reach @ reach > 0).astype(np.float32)
    return np.asarray(reach.all(axis=(1, 2)))


def _alone(scores: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return (m,) log-odds of one draw with half a win where it needs one; NaN when it no longer joins all its
    models."""
    try:
        log_odds, group = solve_groups(scores + half_wins(scores), start)
    except NotConverged:
        return np.full(len(start), np.nan)
    return log_odds if (group == group[0]).all() else np.full(len(start), np.nan)
