"""The reward head: a linear score on standardised pooled features, fitted to the joint likelihood by L-BFGS.

The fit is convex and in float64, so it is the same on every machine up to rounding. The L2 penalty and the set of
features are chosen by cross-validation grouped by prompt: else the same prompt would be on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits
from torch import Tensor

from training.recipes import feedback_likelihood as likelihood
from training.recipes.features import Feature
from training.recipes.feedback_likelihood import Observations

# Penalty per feature, strongest first. At 1 the prior standard deviation of a score is 1, at 100 it is 0.1.
RIDGES = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1)


@dataclass(frozen=True)
class Head:
    weight: Tensor  # (F,) float64, on standardised features
    cuts: Tensor  # flat, as feedback_likelihood lays them out
    mean: Tensor  # (F,)
    std: Tensor  # (F,)

    def scores(self, pooled: Tensor) -> Tensor:
        return ((pooled.double() - self.mean) / self.std) @ self.weight


@dataclass(frozen=True)
class Candidate:
    """One row of the cross-validation: held-out figures per judgement of a feature set with a penalty."""

    features: tuple[Feature, ...]
    ridge: float
    nll: float
    accuracy: float | None  # on pairs, None when there are none


def columns(features: tuple[Feature, ...], every: tuple[Feature, ...], width: int) -> Tensor:
    """The columns that `features` hold among the pooled columns of `every`, each `width` wide."""
    return torch.cat([torch.arange(width) + every.index(f) * width for f in features])


@dataclass(frozen=True)
class Design:
    """Standardised features rotated to the principal axes of the training rows: z = standardise(x) @ axes.

    The L2 penalty is the same in rotated coordinates, and there a diagonal scaling all but whitens the problem:
    L-BFGS needs some fifteen steps where it needed a hundred.
    """

    z: Tensor  # (N, R) every completion
    axes: Tensor  # (F, R)
    spread: Tensor  # (R,) sum of squares of the training rows along each axis
    mean: Tensor  # (F,)
    std: Tensor  # (F,)

    @classmethod
    def of(cls, pooled: Tensor, rows: Tensor) -> Design:
        """`rows` index the completions that standardise and rotate."""
        mean, std = pooled[rows].double().mean(0), pooled[rows].double().std(0).clamp(min=1e-6)
        x = (pooled.double() - mean) / std
        training = x[rows]
        if training.shape[0] < training.shape[1]:
            spread, left = torch.linalg.eigh(training @ training.T)
            kept = spread > 1e-9 * spread[-1]
            spread = spread[kept]
            axes = training.T @ (left[:, kept] / spread.sqrt())
        else:
            spread, axes = torch.linalg.eigh(training.T @ training)
        return cls(x @ axes, axes, spread.clamp(min=0), mean, std)


def fit(design: Design, observed: Observations, ridge: float, tolerance: float = 1e-9) -> Head:
    """The maximum a posteriori head of the judgements in `observed`, whose completions must be training rows."""
    width, rank = design.axes.shape
    cuts, bounds = likelihood.initial_cuts(observed)
    penalty = ridge * width
    # Each judgement bends the likelihood by about 1/5; spread over the rows this is the Hessian, near enough.
    bend = 0.2 * max(len(observed), 1) / max(len(design.z), 1)
    scale = (bend * design.spread + penalty).rsqrt()
    z = design.z * scale

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        p = torch.from_numpy(flat).requires_grad_()
        along, flat_cuts = p[:rank], p[rank:]
        loss = likelihood.joint_nll(z @ along, observed, likelihood.split_cuts(flat_cuts, observed))
        loss = loss + likelihood.prior(flat_cuts, observed) + 0.5 * penalty * (scale * along).square().sum()
        loss.backward()
        assert p.grad is not None
        return loss.item(), p.grad.numpy()

    with one_thread():
        found = minimize(
            objective, torch.cat([torch.zeros(rank).double(), cuts]).numpy(), jac=True, method="L-BFGS-B",
            bounds=[(None, None)] * rank + bounds,
            options={"maxiter": 500, "ftol": tolerance, "gtol": 1e-5, "maxcor": 20},
        )  # fmt: skip
    solution = torch.from_numpy(found.x)
    return Head(design.axes @ (scale * solution[:rank]), solution[rank:], design.mean, design.std)


@contextmanager
def one_thread() -> Iterator[None]:
    """Thousands of products too small to share: on a busy machine, threads that wait for each other cost tenfold."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(threads)


def folds_by_prompt(prompts: Tensor, count: int, seed: int) -> Tensor:
    """(N,) a fold for each completion, the same for all completions of a prompt."""
    unique = torch.unique(prompts)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(unique)))
    fold_of = {int(p): int(i) % count for p, i in zip(unique, order, strict=True)}
    return torch.tensor([fold_of[int(p)] for p in prompts])


def cross_validate(
    pooled: Tensor, observed: Observations, folds: Tensor, every: tuple[Feature, ...],
    sets: list[tuple[Feature, ...]], width: int, report: Callable[[Candidate], None] = lambda _: None,
) -> list[Candidate]:  # fmt: skip
    """Every feature set with every penalty; the best has the lowest `nll`. `folds` is -1 for rows to leave alone."""
    found = []
    with one_thread():
        for features in sets:
            x = pooled[:, columns(features, every, width)]
            for candidate in _penalty_path(x, observed, folds, features):
                found.append(candidate)
                report(candidate)
    return found


def _penalty_path(
    x: Tensor, observed: Observations, folds: Tensor, features: tuple[Feature, ...]
) -> Iterator[Candidate]:
    """Ever weaker penalties, until the held-out likelihood has worsened twice in a row."""
    parts = [
        (_design_without(x, folds, k), observed.among((folds != k) & (folds >= 0)), observed.among(folds == k))
        for k in range(int(folds.max()) + 1)
    ]
    best, worse = float("inf"), 0
    for ridge in RIDGES:
        nll, right, pairs, total = 0.0, 0.0, 0, 0
        for design, training, held_out in parts:
            head = fit(design, training, ridge, tolerance=1e-6)
            scores = design.z @ (design.axes.T @ head.weight)
            nll += likelihood.joint_nll(scores, held_out, likelihood.split_cuts(head.cuts, held_out)).item()
            margin = scores[held_out.chosen] - scores[held_out.rejected]
            right, pairs = right + (margin > 0).double().sum().item(), pairs + len(margin)
            total += len(held_out)
        yield Candidate(features, ridge, nll / max(total, 1), right / pairs if pairs else None)
        best, worse = (nll, 0) if nll < best else (best, worse + 1)
        if worse == 2:
            return


def out_of_fold(x: Tensor, observed: Observations, folds: Tensor, ridge: float) -> Tensor:
    """(N,) each completion scored by a head that saw none of its prompt's judgements; 0 where `folds` is -1."""
    scores = torch.zeros(len(x), dtype=torch.float64)
    with one_thread():
        for k in range(int(folds.max()) + 1):
            design = _design_without(x, folds, k)
            head = fit(design, observed.among((folds != k) & (folds >= 0)), ridge, tolerance=1e-6)
            scores[folds == k] = (design.z @ (design.axes.T @ head.weight))[folds == k]
    return scores


def _design_without(x: Tensor, folds: Tensor, fold: int) -> Design:
    return Design.of(x, torch.nonzero((folds != fold) & (folds >= 0))[:, 0])
