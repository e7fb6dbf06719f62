"""Estimate the distance of the policy from its reference, and control its coefficient."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

ESTIMATORS = ("k1", "k2", "k3")
ROBUST_LIMIT = 2.0  # the largest log(reference / policy) of a token that `robust_kl` believes
LARGEST_STEP = math.log(1.5)  # of the logarithm of the coefficient, in one update
LAGS_FROM = 0.5  # share of the schedule's learning rates: before it, a small KL says only that training has begun
LOWEST_SHARE = 1 / 4  # of the coefficient at first: how far it falls before KL has ever reached its target


def kl_per_token(logprobs: Tensor, ref_logprobs: Tensor, estimator: str = "k1") -> Tensor:
    """Return estimates of KL(policy || reference) from tokens that the policy drew; the same shape as the arguments.

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
    changes by exp(error * episodes / horizon), capped at a factor of 1.5 a step, where 1 + error * episodes / horizon
    is zero or negative for large batches. And it does not follow from the first step on:

    - Until KL first reaches the target, the coefficient is held: a KL under the target says only that training has just
      begun. An overshoot is a reach: the first KL at or above the target raises the coefficient in that very step.
    - But once half of the schedule's learning rates are spent, a KL that has come less far towards the target than the
      rates towards their sum lags, and lowers it: the price then ends the climb before the target does. The error is
      that of KL to target * share of the rates. A KL ahead of it changes nothing. While the target has not been
      reached, the coefficient falls to `floor` at the lowest, so that it can come back in time.
    - From the first reach on it follows KL in both directions.

    Why KL is compared with a straight line, although a policy that moves straight away gives KL in proportion to the
    *square* of the sum of rates: the noise in its steps gives KL too, which goes again while the rate runs out. In the
    demo's runs that took a fifth to a third of KL away in the last quarter.
    """

    coefficient: float
    target: float | None = None
    horizon: float = 10_000.0
    has_reached_target: bool = False
    floor: float | None = None  # left out: a quarter of the coefficient

    def __post_init__(self) -> None:
        if self.floor is None:
            self.floor = self.coefficient * LOWEST_SHARE

    def update(self, kl: float, episodes: int, share_spent: float = 0.0) -> None:
        """Move the coefficient by one batch. kl: mean over completions of the sum over tokens, in nats.

        share_spent: of the schedule's sum of learning rates, what had been spent when kl was measured; 0 to 1.
        """
        if self.target is None:
            return
        self.has_reached_target |= kl >= self.target
        if self.has_reached_target:
            self._move(kl / self.target - 1, episodes)
        elif share_spent >= LAGS_FROM:
            before = self.coefficient
            self._move(min(0.0, kl / (self.target * share_spent) - 1), episodes)
            self.coefficient = max(self.coefficient, min(before, self.floor or 0.0))

    def _move(self, error: float, episodes: int) -> None:
        exponent = min(max(error, -0.2), 0.2) * episodes / self.horizon
        self.coefficient *= math.exp(min(max(exponent, -LARGEST_STEP), LARGEST_STEP))

    def reset(self, coefficient: float) -> None:
        """Take a coefficient that a person chose, and hold it until KL reaches its target again, lag or no lag."""
        self.coefficient = self.floor = coefficient
        self.has_reached_target = False
