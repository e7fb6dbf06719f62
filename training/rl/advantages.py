"""Compute rewards, advantages and masks of completions. Everything is (B, T), right-padded, `mask` true on valid
tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from training.rl.factors import in_float64


def completion_mask(lengths: Tensor, width: int) -> Tensor:
    """Return (B, width) bool from lengths (B,), true on the first `lengths` tokens: no pad token is consulted."""
    return torch.arange(width, device=lengths.device) < lengths[:, None]


def whiten(values: Tensor, mask: Tensor, *, shift_mean: bool = True) -> Tensor:
    """Scale to unit variance (and mean 0 unless `shift_mean` is false) over valid tokens; 0 elsewhere. (B, T)"""
    valid = values[mask]
    mean, variance = valid.mean(), valid.var(unbiased=False)
    whitened = (values - mean) * torch.rsqrt(variance + 1e-8)
    return (whitened if shift_mean else whitened + mean) * mask


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """Return -kl_coef * kl on each valid token, plus the score on the last valid one (not on the first pad after it).

    scores (B,), kl (B, T) -> (B, T).
    """
    rewards = -kl_coef * kl * mask
    last = mask.sum(1).sub(1).clamp(min=0)
    rows = torch.arange(len(scores), device=scores.device)
    rewards[rows, last] += torch.where(mask.any(1), scores, torch.zeros_like(scores)).to(rewards.dtype)
    return rewards


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float = 1.0, lam: float = 0.95) -> tuple[Tensor, Tensor]:
    """Return the generalised advantage estimates (Schulman 2015, 1506.02438), the episode ending with its last valid
    token.

    rewards, values, mask (B, T) -> advantages, returns (B, T), both 0 on padding.
    """
    mask = mask.to(values.dtype)
    rewards, values = rewards * mask, values * mask
    advantages = torch.zeros_like(values)
    running = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        following = values[:, t + 1] if t + 1 < values.shape[1] else torch.zeros_like(running)
        delta = rewards[:, t] + gamma * following - values[:, t]
        running = (delta + gamma * lam * running) * mask[:, t]
        advantages[:, t] = running
    return advantages, (advantages + values) * mask


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over valid tokens of the whole batch, not the mean of each row's mean."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def ratio_and_error(sums: Tensor, counts: Tensor) -> tuple[float, float]:
    """Return the mean over the tokens of all answers, and its standard error. sums, counts (B,), by answer.

    Tokens of one answer are alike, so the error is that of a ratio of sums over answers (Cochran 1977, section 6.3).
    """
    sums, counts = in_float64(sums), in_float64(counts)
    total, rows = counts.sum().clamp(min=1), len(sums)
    ratio = sums.sum() / total
    residuals = ((sums - ratio * counts) ** 2).sum()
    return float(ratio), float((residuals * rows / max(1, rows - 1)).sqrt() / total)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """Return 1 - Var(returns - values) / Var(returns) over valid tokens; 0 when the returns do not vary."""
    target = returns[mask]
    variance = target.var(unbiased=False)
    return float(1 - (target - values[mask]).var(unbiased=False) / variance) if float(variance) > 1e-12 else 0.0
