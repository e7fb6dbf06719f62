"""Decide from all annotations together whether a score tells anything about annotations that it was not fitted to.

Pairs, ties, thumbs and stars are read through slope * score, with cuts and authors' shifts of their own (the joint
likelihood), and the slope is estimated: 0 is the null that says only how often what is said, 1 a score as sure of
itself as it may be, less one that is too sure (the calibration slope of Cox 1958, "Two further applications of a model
for binary regression"). Its standard error counts prompts and not annotations (Liang and Zeger 1986), with Student's t
for few of them. A score is told from chance where the whole 95 % interval is above 0.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.autograd.functional import hessian, jacobian

from common.distributions import student95
from training.recipes.reward import feedback_likelihood as likelihood
from training.recipes.reward.designs.thread_counts import one_thread
from training.recipes.reward.feedback_likelihood import Observations
from training.recipes.reward.reward_accuracy import Estimate


def slope(scores: Tensor, observed: Observations, prompts: Tensor) -> Estimate | None:
    """Return the slope. `scores` and `prompts` are (N,). None where nothing can be told: one prompt, or one score."""
    number = torch.unique(prompts[observed.completions], return_inverse=True)[1] if len(observed) else torch.zeros(0)
    count = int(number.max()) + 1 if len(observed) else 0
    # Only scores that are compared or rated count; a scale of 1 keeps the optimisation well-conditioned.
    spread = scores[torch.unique(torch.cat([observed.completions, observed.rejected]))].std().item() if count else 0.0
    if count < 2 or not spread > 1e-12:
        return None
    with one_thread():
        value, error = _fit(scores.double() / spread, observed, number, count)
    reach = student95(count - 1) * error
    return Estimate(value / spread, (value - reach) / spread, (value + reach) / spread, len(observed), count)


def _fit(s: Tensor, observed: Observations, prompt: Tensor, count: int) -> tuple[float, float]:
    """Return (slope, its standard error), each prompt an independent draw."""
    cuts, bounds = likelihood.initial_cuts(observed)

    def losses(flat: Tensor) -> Tensor:
        return -likelihood.log_likelihoods(flat[0] * s, observed, likelihood.split_cuts(flat[1:], observed))

    def loss(flat: Tensor) -> Tensor:
        return losses(flat).sum() + likelihood.prior(flat[1:], observed)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        p = torch.from_numpy(flat).requires_grad_()
        value = loss(p)
        return value.item(), torch.autograd.grad(value, p)[0].numpy()

    start = torch.cat([torch.zeros(1).double(), cuts])
    limits = [(None, None), *bounds]
    result = minimize(objective, start.numpy(), jac=True, method="L-BFGS-B", bounds=limits, options={"maxiter": 500})
    flat = torch.from_numpy(result.x)
    low, high = (
        torch.tensor([np.inf * sign if b[i] is None else b[i] for b in limits]) for i, sign in ((0, -1), (1, 1))
    )
    free = torch.nonzero((flat > low + 1e-9) & (flat < high - 1e-9))[:, 0]

    def pull(weights: Tensor) -> Tensor:
        """Return the gradient as a linear function of the prompts' weights: its columns are each prompt's own."""
        p = flat.clone().requires_grad_()
        return torch.autograd.grad((weights[prompt] * losses(p)).sum(), p, create_graph=True)[0][free]

    bend = hessian(loss, flat)[free][:, free]
    each = jacobian(pull, torch.ones(count).double())  # (free, prompts)
    influence = torch.linalg.solve(bend, each)[0]  # the slope is the first of the free
    return float(flat[0]), float((influence.square().sum() * count / (count - 1)).sqrt())
