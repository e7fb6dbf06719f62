"""The distance of the policy from its reference: estimators and the controller of its coefficient."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

ESTIMATORS = ("k1", "k2", "k3")
ROBUST_LIMIT = 2.0  # the largest log(reference / policy) of a token that `robust_kl` believes
LARGEST_STEP = math.log(1.5)  # of the logarithm of the coefficient, in one update


def kl_per_token(logprobs: Tensor, ref_logprobs: Tensor, estimator: str = "k1") -> Tensor:
    """Estimators of KL(policy || reference) from tokens that the policy drew; the same shape as the arguments.

    With r = ref / policy (Schulman, "Approximating KL divergence"): k1 = -log r is unbiased and may be negative;
    k2 = (log r)^2 / 2 is biased and has the right gradient as a loss; k3 = r - 1 - log r is unbiased and positive, but
    inside a reward its gradient is wrong.
    """
    log_r = (ref_logprobs - logprobs).clamp(-20, 20)
    if estimator == "k1":
        return -log_r
    if estimator == "k2":
        return log_r**2 / 2
    if estimator == "k3":
        return log_r.exp() - 1 - log_r
    raise ValueError(f"estimator must be one of {', '.join(ESTIMATORS)}, not {estimator!r}.")


def robust_kl(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Return the mean of k1 and k3 per token, with reference / policy held within e^2; the shape of the arguments.

    Both estimators are unbiased, and their errors cancel in part. But k3 grows as reference / policy does: one token
    that the policy calls all but impossible (rounding, a rare draw) weighs e^20 and outweighs thousands. Held within
    e^2, one token takes at most 2 nats away and adds at most 20, on the side where the policy did leave its reference.
    What this costs: a slight underestimate where the policy has given up much that the reference says.
    """
    log_r = (ref_logprobs - logprobs).clamp(-20, ROBUST_LIMIT)
    return (log_r.exp() - 1) / 2 - log_r


@dataclass
class KLController:
    """The coefficient of the KL penalty. Adaptive when `target` is set (Ziegler 2019, 1909.08593, section 2.2).

    The relative error is clipped at ±0.2; `horizon` is in episodes. Two things differ from Ziegler's. The coefficient
    is held until KL first reaches the target, because before that a KL under the target says only that training has
    just begun. And it changes by exp(error * episodes / horizon), capped at a factor of 1.5 a step, where
    1 + error * episodes / horizon is zero or negative for large batches. An overshoot is a reach: the first KL at or
    above the target raises the coefficient in that very step.
    """

    coefficient: float
    target: float | None = None
    horizon: float = 10_000.0
    has_reached_target: bool = False

    def update(self, kl: float, episodes: int) -> None:
        """Move the coefficient by one batch. kl: mean over completions of the sum over tokens, in nats."""
        if self.target is None:
            return
        self.has_reached_target |= kl >= self.target
        if self.has_reached_target:
            error = min(max(kl / self.target - 1, -0.2), 0.2)
            exponent = min(max(error * episodes / self.horizon, -LARGEST_STEP), LARGEST_STEP)
            self.coefficient *= math.exp(exponent)

    def reset(self, coefficient: float) -> None:
        """Take a coefficient that a person chose, and hold it until KL reaches its target again."""
        self.coefficient, self.has_reached_target = coefficient, False
