"""Compute what a score difference says of a comparison, ties included (Rao and Kupper 1967, "Ties in paired-comparison
experiments"). Arrays only.

The reward model's likelihood (`training.recipes.reward.feedback_likelihood`) reads a difference d of two scores with
logistic noise through cuts at ±t: P(win) = σ(d - t), P(loss) = σ(-d - t), and a tie between. At t = 0 it is
Bradley-Terry. With ties σ(d) alone is no outcome's probability: it is too sure of a win, and too near one half as an
expected share.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class Outcomes(NamedTuple):
    """Probabilities of each comparison, of its first answer; they sum to 1."""

    win: Array
    tie: Array
    loss: Array


def outcomes(difference: ArrayLike, threshold: float) -> Outcomes:
    """Return the outcomes. `difference` is of raw scores, first less second, of any shape; `threshold` t >= 0. Raises
    ValueError below 0."""
    if not threshold >= 0:
        raise ValueError(f"threshold must be at least 0, not {threshold!r}.")
    d = np.asarray(difference, dtype=float)
    # As a product, because 1 - win - loss loses its digits where both are near 0 or 1.
    tie = _sigmoid(d + threshold) * _sigmoid(threshold - d) * -np.expm1(-2 * threshold)
    return Outcomes(_sigmoid(d - threshold), tie, _sigmoid(-d - threshold))


def expected_points(difference: ArrayLike, threshold: float) -> Array:
    """Return the share of votes that the first answer is expected to get, a tie as half of one: P(win) + P(tie) / 2."""
    outcome = outcomes(difference, threshold)
    return outcome.win + outcome.tie / 2


def _sigmoid(x: Array) -> Array:
    return np.exp(-np.logaddexp(0.0, -x))
