"""Fit the reward head: a linear score on standardised pooled features, fitted to the joint likelihood by L-BFGS.

The fit is convex and in float64, so it is the same on every machine up to rounding. The L2 penalty and the set of
features are chosen by cross-validation grouped by prompt: else the same prompt would be on both sides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from training.recipes.common.features import Feature
from training.recipes.reward import feedback_likelihood as likelihood
from training.recipes.reward.designs.design import Design
from training.recipes.reward.designs.stored_features import Features, StoredFeatures
from training.recipes.reward.designs.thread_counts import one_thread
from training.recipes.reward.feedback_likelihood import TODAY, Observations, Priors
from training.recipes.reward.likelihood_gradients import JointLikelihood

# Penalty per feature, strongest first. At 1 the prior standard deviation of a score is 1, at 100 it is 0.1.
RIDGES = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1)
FAINT = 1e-3  # in cross-validation; it changes no digit of a loss that anybody reads


@dataclass(frozen=True)
class Head:
    weight: Tensor  # (F,) float64, on standardised features
    cuts: Tensor  # flat, as feedback_likelihood lays them out
    mean: Tensor  # (F,)
    std: Tensor  # (F,)

    def scores(self, pooled: Features) -> Tensor:
        """Return (N,) of pooled features (N, F)."""
        if isinstance(pooled, StoredFeatures):
            weight = self.weight / self.std
            return pooled.times(weight[None])[0] - self.mean @ weight
        return ((pooled.double() - self.mean) / self.std) @ self.weight


@dataclass(frozen=True)
class Candidate:
    """One row of the cross-validation: held-out figures per annotation of a feature set with a penalty."""

    features: tuple[Feature, ...]
    ridge: float
    nll: float
    accuracy: float | None  # on pairs, None when there are none
    losses: Tensor = field(repr=False)  # (P,) of each prompt, summed: what two candidates are compared on
    heads: tuple[Head, ...] = field(repr=False, default=())  # of the folds: where later fits to them start


class Problem:
    """The penalised joint likelihood of `observed` as a function of one flat vector: weights along scaled axes, cuts.

    Axes on which `faint` of the penalty outweighs all that the annotations could say are left out; 0 keeps every one.
    """

    def __init__(
        self, design: Design, observed: Observations, ridge: float, priors: Priors = TODAY, faint: float = 0.0
    ) -> None:
        self.design, self.observed = design, observed
        self.penalty = ridge * design.axes.shape[0]
        # Each annotation bends the likelihood by about 1/5; spread over the rows this is the Hessian, near enough.
        bend = 0.2 * max(len(observed), 1) / max(len(design), 1)
        self.kept_columns = torch.nonzero(bend * design.spread >= faint * self.penalty)[:, 0]
        self.scale = (bend * design.spread[self.kept_columns] + self.penalty).rsqrt()
        self.rank = len(self.kept_columns)
        ends = (observed.completions, observed.rejected, observed.tie_b)
        rows = torch.unique(torch.cat(ends))  # nobody judged the others
        self.scores = design.scorer(rows, self.kept_columns, self.scale)
        self.joint = JointLikelihood(observed)
        cuts, bounds = likelihood.initial_cuts(observed, priors)
        self.start = torch.cat([torch.zeros(self.rank).double(), cuts])
        self.precisions = torch.cat([self.penalty * self.scale**2, likelihood.prior_precisions(observed, priors)])
        self.bounds = [(None, None)] * self.rank + bounds

    def loss(self, flat: Tensor) -> Tensor:
        along, cuts = flat[: self.rank], flat[self.rank :]
        nll = likelihood.joint_nll(self.scores(along), self.observed, likelihood.split_cuts(cuts, self.observed))
        return nll + 0.5 * (self.precisions * flat.square()).sum()

    def loss_and_gradient(self, flat: Tensor) -> tuple[float, Tensor]:
        """Return the loss and its gradient, in little memory however many annotations there are."""
        along, cuts = flat[: self.rank].clone().requires_grad_(), flat[self.rank :]
        scores = self.scores(along)
        nll, by_scores, by_cuts = self.joint.nll_and_gradients(scores, cuts)
        scores.backward(by_scores)
        assert along.grad is not None
        pull = self.precisions * flat
        gradient = torch.cat([along.grad, by_cuts]) + pull
        return nll + 0.5 * (pull @ flat).item(), gradient

    def flat(self, head: Head) -> Tensor:
        """Return the flat vector of a head; of one fitted with another penalty, a good place to start from."""
        along = (self.design.axes.T @ head.weight)[self.kept_columns] / self.scale
        return torch.cat([along, head.cuts])

    def head(self, flat: Tensor) -> Head:
        along = torch.zeros(self.design.axes.shape[1], dtype=torch.float64)
        along[self.kept_columns] = self.scale * flat[: self.rank]
        weight = self.design.axes @ along  # a copy of the kept axes would be as large as all, for each fold at once
        return Head(weight, flat[self.rank :], self.design.mean, self.design.std)


def fit(
    design: Design, observed: Observations, ridge: float, *, priors: Priors = TODAY, tolerance: float = 1e-9,
    faint: float = 0.0, start: Head | None = None,
) -> Head:  # fmt: skip
    """Return the maximum a posteriori head of the annotations in `observed`, whose completions must be training
    rows."""
    problem = Problem(design, observed, ridge, priors, faint)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = problem.loss_and_gradient(torch.from_numpy(flat))
        return loss, gradient.numpy()

    begin = problem.start if start is None else problem.flat(start)
    with one_thread():
        result = minimize(
            objective, begin.numpy(), jac=True, method="L-BFGS-B", bounds=problem.bounds,
            options={"maxiter": 500, "ftol": tolerance, "gtol": 1e-5, "maxcor": 20},
        )  # fmt: skip
    return problem.head(torch.from_numpy(result.x))


def folds_by_prompt(prompts: Tensor, count: int, seed: int) -> Tensor:
    """Return (N,) a fold for each completion, the same for all completions of a prompt."""
    unique, number = torch.unique(prompts, return_inverse=True)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(unique)))
    return (order % count)[number]


@dataclass(frozen=True)
class Fold:
    """Annotations by the masks (N,) of their completions: copied when a fit asks for them."""

    observed: Observations
    in_training: Tensor
    in_held_out: Tensor

    @property
    def training(self) -> Observations:
        return self.observed.among(self.in_training)

    @property
    def held_out(self) -> Observations:
        return self.observed.among(self.in_held_out)


def folds_of(observed: Observations, folds: Tensor) -> list[Fold]:
    """Return the folds; `folds` (N,) is -1 for rows to leave alone."""
    return [Fold(observed, (folds != k) & (folds >= 0), folds == k) for k in range(int(folds.max()) + 1)]


def cross_validate(
    designs: Iterator[tuple[tuple[Feature, ...], Design]], observed: Observations, prompts: Tensor, folds: Tensor,
    report: Callable[[Candidate], None] = lambda _: None,
) -> list[Candidate]:  # fmt: skip
    """Return every feature set with every penalty; the best has the lowest `nll`.

    The folds share one design: standardising and rotating look at no annotation.
    """
    candidates = []
    parts = folds_of(observed, folds)
    with one_thread():
        for features, design in designs:
            for ridge, loss, heads in penalty_path(design, parts):
                losses = loss.by_prompt(prompts)
                candidates.append(Candidate(features, ridge, loss.nll, loss.accuracy, losses, tuple(heads)))
                report(candidates[-1])
            del design  # else it is in memory while the next is computed
    return candidates


@dataclass(frozen=True)
class HeldOutLoss:
    """The loss of every annotation, by a head that saw none of its prompt's."""

    losses: Tensor  # (J,)
    completions: Tensor  # (J,)
    right: float
    pairs: int

    @property
    def nll(self) -> float:
        return self.losses.mean().item() if len(self.losses) else math.nan

    @property
    def accuracy(self) -> float | None:
        return self.right / self.pairs if self.pairs else None

    def by_prompt(self, prompts: Tensor) -> Tensor:
        """Return (P,) summed over the annotations of each prompt."""
        _, index = torch.unique(prompts[self.completions], return_inverse=True)
        return torch.zeros(int(index.max()) + 1 if len(index) else 0).double().index_add(0, index, self.losses)


def held_out_loss(
    design: Design, parts: list[Fold], ridge: float, priors: Priors = TODAY, starts: Sequence[Head | None] | None = None
) -> tuple[HeldOutLoss, list[Head]]:
    """Return the loss of a penalty, and the heads of the folds: with the next weaker penalty they are where to
    start."""
    losses, completions, right, pairs = [], [], 0.0, 0
    fits = [
        partial(_fit_fold, part=part, ridge=ridge, priors=priors, start=start)
        for part, start in zip(parts, starts or [None] * len(parts), strict=True)
    ]  # fmt: skip
    heads = design.run_each(fits)
    for part, scores, head in zip(parts, scores_of(design, heads), heads, strict=True):
        held_out = part.held_out
        losses.append(-likelihood.log_likelihoods(scores, held_out, likelihood.split_cuts(head.cuts, held_out)))
        completions.append(held_out.completions)
        margin = scores[held_out.chosen] - scores[held_out.rejected]
        right, pairs = right + (margin > 0).double().sum().item(), pairs + len(margin)
    return HeldOutLoss(torch.cat(losses), torch.cat(completions), right, pairs), heads


def _fit_fold(design: Design, part: Fold, ridge: float, priors: Priors, start: Head | None = None) -> Head:
    return fit(design, part.training, ridge, priors=priors, tolerance=1e-6, faint=FAINT, start=start)


def penalty_path(design: Design, parts: list[Fold]) -> Iterator[tuple[float, HeldOutLoss, list[Head]]]:
    """Yield ever weaker penalties, with the folds' heads, until the held-out likelihood has worsened twice in a row."""
    best, worse = float("inf"), 0
    heads: list[Head] | None = None
    for ridge in RIDGES:
        loss, heads = held_out_loss(design, parts, ridge, starts=heads)
        yield ridge, loss, heads
        best, worse = (loss.nll, 0) if loss.nll < best else (best, worse + 1)
        if worse == 2:
            return


def best_ridge(design: Design, observed: Observations, folds: Tensor) -> float:
    """Return the penalty with the lowest cross-validated loss, for features that are settled."""
    with one_thread():
        return min(penalty_path(design, folds_of(observed, folds)), key=lambda step: step[1].nll)[0]


def out_of_fold(
    design: Design, observed: Observations, folds: Tensor, ridge: float, priors: Priors = TODAY,
    starts: Sequence[Head | None] = (),
) -> Tensor:  # fmt: skip
    """Return (N,) each completion scored by a head that saw none of its prompt's annotations; 0 where `folds` is -1.

    `starts` are heads of the same folds, from which the fits start.
    """
    scores = torch.zeros(len(design), dtype=torch.float64)
    with one_thread():
        parts = folds_of(observed, folds)
        fits = [
            partial(_fit_fold, part=part, ridge=ridge, priors=priors, start=start)
            for part, start in zip(parts, starts or [None] * len(parts), strict=True)
        ]
        for k, held_out_scores in enumerate(scores_of(design, design.run_each(fits))):
            scores[folds == k] = held_out_scores[folds == k]
    return scores


def scores_of(design: Design, heads: Sequence[Head]) -> list[Tensor]:
    """Return (N,) by each of the heads."""
    return design.run_each([partial(_scores, head=head) for head in heads])


def _scores(design: Design, head: Head) -> Tensor:
    return design.scores(head)
