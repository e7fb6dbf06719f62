"""Decide from all annotations together whether a score tells anything about annotations that it was not fitted to.

Pairs, ties, thumbs and stars are read through slope * score, with cuts and authors' shifts of their own (the joint
likelihood), and the slope is estimated: 0 is the null that says only how often what is said, 1 a score as sure of
itself as it may be, less one that is too sure (the calibration slope of Cox 1958, "Two further applications of a model
for binary regression"). Its standard error counts prompts and not annotations (Liang and Zeger 1986), with Student's t
for few of them. A score is told from chance where the whole 95 % interval is above 0. Annotations are taken in parts:
in memory are the derivatives of some ten thousands of them at a time.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.autograd.functional import hessian, jvp

from common.distributions import student95
from training.recipes.reward import feedback_likelihood as likelihood
from training.recipes.reward.designs.thread_counts import one_thread
from training.recipes.reward.feedback_likelihood import Observations
from training.recipes.reward.reward_accuracy import Estimate


def slope(scores: Tensor, observed: Observations, prompts: Tensor) -> Estimate | None:
    """Return the slope. `scores` and `prompts` are (N,). None where nothing can be told: one prompt, or one score."""
    annotated = torch.unique(prompts[observed.completions])
    count = len(annotated)
    # Only scores that are compared or rated count; a scale of 1 keeps the optimisation well-conditioned.
    spread = scores[torch.unique(torch.cat([observed.completions, observed.rejected]))].std().item() if count else 0.0
    if count < 2 or not spread > 1e-12:
        return None
    with one_thread():
        value, error = _fit(scores.double() / spread, observed, prompts, annotated)
    reach = student95(count - 1) * error
    return Estimate(value / spread, (value - reach) / spread, (value + reach) / spread, len(observed), count)


def _fit(s: Tensor, observed: Observations, prompts: Tensor, annotated: Tensor) -> tuple[float, float]:
    """Return (slope, its standard error), each of the `annotated` prompts (P,) an independent draw."""
    cuts, bounds = likelihood.initial_cuts(observed)
    parts, count = list(observed.parts()), len(annotated)

    def losses(flat: Tensor, part: Observations) -> Tensor:
        return -likelihood.log_likelihoods(flat[0] * s, part, likelihood.split_cuts(flat[1:], part))

    def total_loss(flat: Tensor, part: Observations) -> Tensor:
        return losses(flat, part).sum()

    def prior(flat: Tensor) -> Tensor:
        return likelihood.prior(flat[1:], observed)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        p = torch.from_numpy(flat).requires_grad_()
        value = prior(p)
        gradient, total = torch.autograd.grad(value, p)[0], value.item()
        for part in parts:
            value = total_loss(p, part)
            gradient += torch.autograd.grad(value, p)[0]
            total += value.item()
        return total, gradient.numpy()

    start = torch.cat([torch.zeros(1).double(), cuts])
    limits = [(None, None), *bounds]
    result = minimize(objective, start.numpy(), jac=True, method="L-BFGS-B", bounds=limits, options={"maxiter": 500})
    flat = torch.from_numpy(result.x)
    low, high = (
        torch.tensor([np.inf * sign if b[i] is None else b[i] for b in limits]) for i, sign in ((0, -1), (1, 1))
    )
    free = torch.nonzero((flat > low + 1e-9) & (flat < high - 1e-9))[:, 0]
    bend = hessian(prior, flat)
    for part in parts:
        bend += hessian(partial(total_loss, part=part), flat)
    # The slope, the first of the free, moves by this times a prompt's gradient: so no prompt needs its whole gradient.
    along = torch.zeros_like(flat)
    along[free] = torch.linalg.solve(bend[free][:, free].T, torch.eye(len(free)).double()[0])
    influence = torch.zeros(count).double()
    for part in parts:
        place = torch.searchsorted(annotated, prompts[part.completions])
        influence.index_add_(0, place, jvp(partial(losses, part=part), flat, along)[1])
    return float(flat[0]), float((influence.square().sum() * count / (count - 1)).sqrt())
