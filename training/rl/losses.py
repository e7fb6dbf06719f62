"""Compute the losses of PPO (Schulman 2017, 1707.06347), as means over the valid tokens of the batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.rl.advantages import masked_mean
from training.rl.kl import ROBUST_LIMIT

LOG_RATIO_LIMIT = 20.0  # exp(20) is finite in float32 and its gradient is clipped away


@dataclass(frozen=True)
class PolicyLoss:
    """Hold the policy's loss. `approx_kl` is k3 of old to new policy in nats a token, with no ratio above e^2;
    `clip_frac` the share of tokens where the clip binds."""

    loss: Tensor
    approx_kl: float
    clip_frac: float
    ratio_mean: float
    ratio_max: float


def policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float = 0.2,
    weights: Tensor | None = None,
) -> PolicyLoss:  # fmt: skip
    """Return the clipped surrogate. All (B, T). `weights` multiply each token's loss
    (`training.rl.importance`); None: 1."""
    log_ratio = ((logprobs - old_logprobs) * mask).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    ratio = log_ratio.exp()
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip, 1 + clip)
    losses = torch.maximum(plain, clipped)
    loss = masked_mean(losses if weights is None else losses * weights, mask)
    with torch.no_grad():
        bounded = log_ratio.clamp(max=ROBUST_LIMIT)  # else one token decides, see robust_kl
        return PolicyLoss(
            loss=loss,
            approx_kl=float(masked_mean(bounded.exp() - 1 - bounded, mask)),
            clip_frac=float(masked_mean((clipped > plain).float(), mask)),
            ratio_mean=float(masked_mean(ratio, mask)),
            ratio_max=float(ratio.masked_fill(~mask, 1.0).max()),
        )


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float | None = 0.2) -> Tensor:
    """Return half the squared error, the worse of the value and the value clipped to within `clip` of the old one. All
    (B, T)."""
    error = (values - returns) ** 2
    if clip is not None:
        clipped = old_values + (values - old_values).clamp(-clip, clip)
        error = torch.maximum(error, (clipped - returns) ** 2)
    return 0.5 * masked_mean(error, mask)
