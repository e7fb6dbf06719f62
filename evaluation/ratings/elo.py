"""Compute online Elo: a ticker that moves with each vote and depends on their order; never the ranking.

After each vote the two ratings move by ±K·(y − p), with y = 1, ½, 0 and p = 1/(1 + 10^((r_b − r_a)/400)) (Elo, 1978),
as Chatbot Arena's first leaderboard did with K = 4. The last votes weigh most and the first are forgotten, so the
same votes in another order give other ratings: `order_spread` says by how much, and whoever shows the ticker shows
that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.ratings.bradley_terry import CENTRE, SCALE
from evaluation.ratings.tally import LABELS

STEP = 4.0  # K
SCORE = (1.0, 0.0, 0.5, 0.5)  # of the model shown as A, by LABELS


@dataclass(frozen=True)
class OrderSpread:
    """Elo ratings (M,) of the same votes in shuffled orders: their mean, standard deviation, lowest and highest."""

    mean: np.ndarray
    deviation: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    orders: int


def online(
    a: Sequence[int] | np.ndarray,
    b: Sequence[int] | np.ndarray,
    label: Sequence[int] | np.ndarray,
    start: np.ndarray,
    step: float = STEP,
) -> np.ndarray:
    """Return (M,) Elo ratings after the votes, taken in the order given, from `start` (M,).

    A new model starts at 1000. To go on with later votes, start from what this returned; to draw the ticker over
    time, call it for each stretch. Raises ValueError on an index out of range, a model against itself, or `start` or
    `step` that is no number.
    """
    a, b, label = (np.asarray(values, dtype=np.int64) for values in (a, b, label))
    _check(a, b, label, len(start))
    if not (np.isfinite(start).all() and math.isfinite(step) and step > 0):
        raise ValueError("start must be finite ratings, and step (K) a number above 0.")
    rating, steepness, exp = [float(value) for value in start], -1 / SCALE, math.exp
    for i, j, outcome in zip(a.tolist(), b.tolist(), label.tolist(), strict=True):
        gap = steepness * (rating[i] - rating[j])
        moved = step * (SCORE[outcome] - 1 / (1 + exp(gap if gap < 700 else 700)))
        rating[i] += moved
        rating[j] -= moved
    return np.array(rating)


def order_spread(
    a: np.ndarray, b: np.ndarray, label: np.ndarray, size: int, orders: int = 10, seed: int = 0, step: float = STEP
) -> OrderSpread:
    """Return how far ratings of `size` models from 1000 depend on the order: `orders` shuffles, the same for the same
    seed.

    Each costs what `online` does: some tenths of a second for a million votes.
    """
    if orders < 2:
        raise ValueError(f"orders must be 2 or more to show a spread: got {orders}.")
    random, start = np.random.default_rng(seed), np.full(size, CENTRE)
    shuffled = []
    for _ in range(orders):
        order = random.permutation(len(a))
        shuffled.append(online(a[order], b[order], label[order], start, step))
    ratings = np.stack(shuffled)
    return OrderSpread(
        ratings.mean(axis=0), ratings.std(axis=0, ddof=1), ratings.min(axis=0), ratings.max(axis=0), orders
    )


def _check(a: np.ndarray, b: np.ndarray, label: np.ndarray, size: int) -> None:
    if not len(a) == len(b) == len(label):
        raise ValueError(f"a vote needs all of A, B and winner: got {len(a)}, {len(b)}, {len(label)}.")
    for name, values, top in (("a", a, size), ("b", b, size), ("label", label, len(LABELS))):
        if values.size and (values.min() < 0 or values.max() >= top):
            raise ValueError(f"{name} has an index outside 0..{top - 1}.")
    if np.any(a == b):
        raise ValueError("a model cannot be compared with itself; leave such votes out.")
