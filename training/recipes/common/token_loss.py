"""Compute the cross-entropy over a vocabulary without logits of the whole batch, forward and backward in one pass.

The gradient of a loss is known as soon as the loss is, but for a factor: both gradients are made while the logits of a
few hundred rows stand in the cache, and backward only multiplies. 16,384 tokens over 32,768 words would otherwise
take 2 GB of float32 logits, written and read several times. (`training.rl.logprobs` serves PPO, where each token has a
factor of its own and the output layer is frozen; here the output layer learns, and that would cost it a second pass.)
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from training.core.batch_planner import loss_logits
from training.rl import products


def token_loss(hidden: Tensor, weight: Tensor, targets: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Return `scale` times the sum of -log softmax(hidden @ weight.T) at `targets`, and each token's part unscaled.

    hidden (N, H), weight (V, H), targets (N,) -> scalar float32 with gradient, (N,) float32 without.
    """
    return _TokenLoss.apply(hidden, weight, targets, scale)


class _TokenLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        N = hidden.shape[0]
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        losses = torch.empty(N, dtype=torch.float32, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if wants_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if wants_weight else None
        parts = max(math.ceil(N * weight.shape[0] / loss_logits(weight.device.type)), 1)
        rows = max(math.ceil(N / parts), 16)  # nearly equal parts: a rest of few rows costs as much as many
        for start in range(0, N, rows):
            part = slice(start, start + rows)
            slopes, losses[part] = _slopes(hidden[part], weight, targets[part])
            if not (wants_hidden or wants_weight):
                continue
            slopes = slopes.mul_(scale).to(hidden.dtype)
            if grad_hidden is not None:
                grad_hidden[part] = slopes @ weight
            if grad_weight is not None:
                grad_weight += slopes.T @ hidden[part]
        ctx.save_for_backward(grad_hidden, None if grad_weight is None else grad_weight.to(weight.dtype))
        ctx.mark_non_differentiable(losses)
        return losses.sum() * scale, losses

    @staticmethod
    def backward(ctx: Any, factor: Tensor, _: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        if grad_hidden is not None:
            grad_hidden = grad_hidden * factor.to(grad_hidden.dtype)
        if grad_weight is not None:
            grad_weight = grad_weight * factor.to(grad_weight.dtype)
        return grad_hidden, grad_weight, None, None


def _slopes(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return d loss / d logits (n, V) in float32, and the losses (n,)."""
    logits = products.logits(hidden, weight)
    probs = logits.softmax(-1, dtype=torch.float32)
    at = targets[:, None]
    known_token = at
    if bool((probs.gather(1, at) < 1e-30).any()):  # a probability that lost its digits says nothing of the normaliser
        known_token = logits.argmax(-1, keepdim=True)
    normaliser = (logits.gather(1, known_token).float() - probs.gather(1, known_token).log())[:, 0]
    # The target's logit in float32: in bfloat16 one near 20 is rounded to eighths.
    losses = normaliser - torch.linalg.vecdot(hidden.float(), weight[targets].float())
    probs.scatter_add_(1, at, torch.full_like(probs[:, :1], -1.0))
    return probs, losses
