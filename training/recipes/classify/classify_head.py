"""Fit the head alone: multinomial logistic regression on frozen features, its L2 penalty chosen by cross-validation.

Convex, so the answer depends on neither seed nor learning rate; on one BLAS thread, so that it repeats to the bit.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits

Array = NDArray[np.float64]
Index = NDArray[np.int64]
PENALTIES = tuple(float(p) for p in np.logspace(-4, 1, 6))
_FOLDS = 5


@dataclass(frozen=True)
class Fit:
    weight: Array  # (K, H)
    bias: Array  # (K,)
    penalty: float
    losses: dict[float, float]  # cross-validated, by penalty


def fit(features: Array, labels: Index, classes: int, weights: Array) -> Fit:
    """Fit the head. `features` (N, H), standardised; `weights` (K,) of the classes in the loss."""
    with threadpool_limits(limits=1):
        folds = _folds(labels)
        losses = {p: _cross_validated(features, labels, classes, weights, p, folds) for p in PENALTIES}
        best = min(losses, key=lambda p: (losses[p], -p))
        weight, bias = _minimum(features, labels, classes, weights, best)
    return Fit(weight, bias, best, losses)


def _folds(labels: Index) -> Index:
    """Assign folds within each label by a hash of the place: the same on every machine, and each fold has some of
    each."""
    folds = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        indices = sorted(np.flatnonzero(labels == label), key=lambda i: hashlib.sha256(f"{i}".encode()).digest())
        folds[indices] = np.arange(len(indices)) % _FOLDS
    return folds


def _cross_validated(
    features: Array, labels: Index, classes: int, weights: Array, penalty: float, folds: Index
) -> float:
    total, n = 0.0, 0.0
    for fold in range(_FOLDS):
        test = folds == fold
        if not test.any() or test.all():
            continue
        weight, bias = _minimum(features[~test], labels[~test], classes, weights, penalty)
        likelihoods = log_softmax(features[test] @ weight.T + bias, axis=1)[np.arange(test.sum()), labels[test]]
        total -= float((weights[labels[test]] * likelihoods).sum())
        n += float(weights[labels[test]].sum())
    return total / max(n, 1e-12)


def _minimum(features: Array, labels: Index, classes: int, weights: Array, penalty: float) -> tuple[Array, Array]:
    width = features.shape[1]
    truth = np.eye(classes)[labels]
    each = weights[labels] / weights[labels].sum()

    def objective(flat: Array) -> tuple[float, Array]:
        weight, bias = flat[: classes * width].reshape(classes, width), flat[classes * width :]
        logs = log_softmax(features @ weight.T + bias, axis=1)
        error = each[:, None] * (np.exp(logs) - truth)
        loss = -(each * (logs * truth).sum(axis=1)).sum() + penalty / 2 * (weight**2).sum()
        return float(loss), np.concatenate([(error.T @ features + penalty * weight).ravel(), error.sum(axis=0)])

    result = minimize(objective, np.zeros(classes * (width + 1)), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return result.x[: classes * width].reshape(classes, width), result.x[classes * width :]
