"""The distance of the policy from its reference: estimators and the controller of its price."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

ESTIMATORS = ("k1", "k2", "k3")


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


@dataclass
class KLController:
    """The coefficient of the KL penalty. Adaptive when `target` is set (Ziegler 2019, 1909.08593, section 2.2).

    The relative error is clipped at ±0.2; `horizon` is in episodes. Over 10,000 of them a coefficient hardly moves in
    a run of 400 episodes, so the horizon is the caller's to shorten.
    """

    coefficient: float
    target: float | None = None
    horizon: float = 10_000.0

    def update(self, kl: float, episodes: int) -> None:
        """kl: mean over completions of the sum over tokens, in nats."""
        if self.target is not None:
            error = min(max(kl / self.target - 1, -0.2), 0.2)
            self.coefficient *= 1 + error * episodes / self.horizon
