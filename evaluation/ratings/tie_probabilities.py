"""Compute the chances of a win, a loss and a tie in Davidson's and in Rao and Kupper's model, and their derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Terms(NamedTuple):
    """Hold the log-chances of (win, loss, tie) of A, and their derivatives by δ and by the tie's parameter t; all (...,
    3)."""

    log_chance: np.ndarray
    by_delta: np.ndarray
    by_tie: np.ndarray
    by_delta_twice: np.ndarray
    by_both: np.ndarray
    by_tie_twice: np.ndarray


def davidson(delta: np.ndarray, tie: float) -> Terms:
    """Return the terms of Davidson's model; `tie` is ln ν. The logit of three alternatives with utilities δ/2, −δ/2 and
    ln ν."""
    utility = np.stack([delta / 2, -delta / 2, np.full_like(delta, tie)], axis=-1)
    log_chance = utility - np.logaddexp(np.logaddexp(delta / 2, -delta / 2), tie)[..., None]
    chance = np.exp(log_chance)
    slope, level = np.array([0.5, -0.5, 0.0]), np.array([0.0, 0.0, 1.0])
    mean, tied = (chance @ slope)[..., None], chance[..., [2]]
    alike = np.ones(3)  # the curvature is the same whatever the outcome
    return Terms(
        log_chance,
        slope - mean,
        level - tied,
        -((chance @ slope**2)[..., None] - mean**2) * alike,
        mean * tied * alike,
        -tied * (1 - tied) * alike,
    )


def rao_kupper(delta: np.ndarray, tie: float) -> Terms:
    """Return the terms of Rao and Kupper's model; `tie` is κ = ln θ > 0. A tie's chance is σ(κ−δ)·σ(κ+δ)·(1 −
    e^{−2κ})."""
    zero = np.zeros_like(delta)
    not_win, not_loss = np.exp(-np.logaddexp(0, delta - tie)), np.exp(-np.logaddexp(0, -delta - tie))
    gap = math.log1p(-math.exp(-2 * tie)) if tie > 0 else -math.inf
    gap_slope = 2 / math.expm1(2 * tie) if tie > 0 else math.inf
    log_win, log_loss = -np.logaddexp(0, tie - delta), -np.logaddexp(0, tie + delta)
    log_tie = -np.logaddexp(0, delta - tie) - np.logaddexp(0, -delta - tie) + gap
    up, down = not_win * (1 - not_win), not_loss * (1 - not_loss)
    return Terms(
        np.stack([log_win, log_loss, log_tie], axis=-1),
        np.stack([not_win, -not_loss, not_win - not_loss], axis=-1),
        np.stack([-not_win, -not_loss, 2 - not_win - not_loss + gap_slope], axis=-1),
        np.stack([-up, -down, -up - down], axis=-1),
        np.stack([up, -down, up - down], axis=-1),
        np.stack([-up, -down, zero - up - down - gap_slope * (2 + gap_slope)], axis=-1),
    )


MODELS: dict[str, Callable[[np.ndarray, float], Terms]] = {"davidson": davidson, "rao-kupper": rao_kupper}
