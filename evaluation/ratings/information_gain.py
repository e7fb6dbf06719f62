"""Choose which pair to ask about next: how much one more vote on it lowers the variances that matter.

One battle of a and b adds information u = h²/g about x = e_a − e_b, with h = p(1 − p) and g the expected squared
score (h less ties/4). By the rank-one update (Sherman & Morrison) the variance of a difference d falls by

    (dᵀVx)² / (1/u + xᵀVx)

and summed over all differences with weights W that is (B_aa + B_bb − 2B_ab) / (1/u + xᵀVx), B = V·L(W)·V, with L the
Laplacian: two products of matrices for all pairs at once. Chaloner and Verdinelli (1995) call it Bayesian A-optimality.

What no vote has said yet has the prior's variance, so a model without votes, and parts of the board that no vote
joins, come first by themselves. Pairs are then *drawn*, by the square of what they teach: every pair keeps a chance,
and nobody can tell what comes next. On eight models, after 300 even battles and 300 so drawn, the variance of the one
difference that mattered was 0.36 of what even battles left it at; drawn by the first power, 0.51.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from evaluation.ratings.bradley_terry import SCALE, Fit, laplacian, of_differences, sigmoid

PRIOR = 350.0 / SCALE  # standard deviation of a model nobody has judged: Glicko's 350 points (Glickman, 1999)
JOINS = 0.05  # weight of differences between parts that no vote joins, so that they get joined
FLOOR = 0.1
CERTAIN = 1e-12  # p(1 − p) of a battle whose winner is certain: it teaches next to nothing
SHARPNESS = 2


def pair_probabilities(
    fitted: Fit | None, models: Sequence[Hashable], matters: np.ndarray | None = None, floor: float = FLOOR
) -> np.ndarray:
    """Return (M, M) the probability of each next battle (row shown as A, column as B); symmetric, sums to 1, diagonal
    0.

    `models` are those that can be drawn: some may have no votes, and the fit may know others. `matters` (M, M) weighs
    the differences by how much they count (all alike without it; its two halves are added). A share `floor` of the
    battles is spread evenly over all pairs. Raises ValueError on fewer than two models or a bad weight.
    """
    size = len(models)
    weights = _checked(models, matters, floor)
    covariance, log_odds, part = _beliefs(fitted, models)
    weights = weights + JOINS * weights.max(initial=0) * (part[:, None] != part[None, :])
    gain = _gains(covariance, log_odds, weights, _ties(fitted)) ** SHARPNESS
    even = (1 - np.eye(size)) / (size * (size - 1))
    total = gain.sum()
    return even if total <= 0 else floor * even + (1 - floor) * gain / total


def gains(fitted: Fit, matters: np.ndarray) -> np.ndarray:
    """Return (M, M) by how many squared rating points one vote on a pair lowers the weighted sum of variances of
    differences.

    Of the fit's own models, within each group: NaN between models that no votes join.
    """
    same = fitted.group[:, None] == fitted.group[None, :]
    covariance = np.where(same, fitted.covariance, 0) / SCALE**2
    weights = _checked(fitted.models, matters, FLOOR) * same
    return np.where(same, SCALE**2 * _gains(covariance, fitted.log_odds, weights, _ties(fitted)), np.nan)


def weigh_pairs(models: Sequence[Hashable], weighed: Iterable[tuple[Hashable, Hashable, float]]) -> np.ndarray:
    """Return (M, M) `matters` from (model, other, weight); pairs with models that are not there are left out."""
    index_by_model = {model: k for k, model in enumerate(models)}
    weights = np.zeros((len(models), len(models)))
    for model, other, weight in weighed:
        if model in index_by_model and other in index_by_model and model != other:
            i, j = index_by_model[model], index_by_model[other]
            weights[i, j] += weight
            weights[j, i] += weight
    return weights


def weigh_top(fitted: Fit | None, models: Sequence[Hashable], top: int, weight: float = 1.0) -> np.ndarray:
    """Return (M, M) `matters` for the order of the `top` best: weight/(1 + z²) for each of them against each below it.

    z is their difference in standard errors: neighbours that are not told apart count fully, a pair that is decided by
    far counts little.
    """
    index_by_model = {model: k for k, model in enumerate(models)}
    weights = np.zeros((len(models), len(models)))
    if fitted is None:
        return weights
    by_rating = np.argsort(-fitted.rating, kind="stable")
    best = np.array([k for k in by_rating if fitted.group[k] == 0 and fitted.models[k] in index_by_model], dtype=int)
    at = np.array([index_by_model[fitted.models[k]] for k in best], dtype=int)
    variance = of_differences(fitted.covariance[np.ix_(best, best)]) + np.eye(len(best))
    gap = fitted.rating[best][:, None] - fitted.rating[best][None, :]
    counts = np.triu(weight / (1 + gap**2 / variance), 1)[:top]
    weights[np.ix_(at[:top], at)] = counts
    return weights + weights.T


def _checked(models: Sequence[Hashable], matters: np.ndarray | None, floor: float) -> np.ndarray:
    size = len(models)
    if size < 2:
        raise ValueError(f"a battle needs two models that can be drawn, and there is {size}: add another.")
    if not 0 <= floor <= 1:
        raise ValueError(f"floor is a share of the battles between 0 and 1: got {floor}.")
    weights = np.ones((size, size)) if matters is None else np.asarray(matters, dtype=float)
    if weights.shape != (size, size):
        raise ValueError(f"matters has one weight for each pair of the {size} models: got shape {weights.shape}.")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError("matters are weights, 0 or more: say 0 for a difference that does not count.")
    return np.where(np.eye(size, dtype=bool), 0, weights + weights.T) / 2


def _beliefs(fitted: Fit | None, models: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the covariance (M, M) and log-odds (M,) of `models` with a prior, and the part of the board each is in.

    Within a group it is the votes' own; the level of each group of n has the prior's variance over n.
    """
    size = len(models)
    covariance, log_odds = np.eye(size) * PRIOR**2, np.zeros(size)
    part = np.arange(size) + len(models if fitted is None else fitted.models)
    if fitted is None:
        return covariance, log_odds, part
    index_by_model = {model: k for k, model in enumerate(fitted.models)}
    indices = np.array([k for k, model in enumerate(models) if model in index_by_model], dtype=int)
    fit_indices = np.array([index_by_model[models[k]] for k in indices], dtype=int)
    group = fitted.group[fit_indices]
    same = group[:, None] == group[None, :]
    shared = PRIOR**2 / np.bincount(fitted.group)[group]
    block = np.where(same, fitted.covariance[np.ix_(fit_indices, fit_indices)] / SCALE**2 + shared[:, None], 0)
    covariance[np.ix_(indices, indices)] = block
    log_odds[indices], part[indices] = fitted.log_odds[fit_indices], group
    return covariance, log_odds, part


def _gains(covariance: np.ndarray, log_odds: np.ndarray, weights: np.ndarray, ties: float) -> np.ndarray:
    """Return (M, M) the module's formula, 0 on the diagonal."""
    form = covariance @ laplacian(weights) @ covariance
    chance = sigmoid(log_odds[:, None] - log_odds[None, :])
    h = np.maximum(chance * (1 - chance), CERTAIN)
    noise = np.maximum(h - ties / 4, h / 4) / h**2  # 1/u
    gain = of_differences(form) / (noise + of_differences(covariance))
    return np.where(np.eye(len(gain), dtype=bool), 0, np.maximum(gain, 0))


def _ties(fitted: Fit | None) -> float:
    return 0.0 if fitted is None or not fitted.tally.votes else float(fitted.tally.ties.sum() / 2 / fitted.tally.votes)
