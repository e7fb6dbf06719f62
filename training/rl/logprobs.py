"""Compute log-probabilities of tokens without a B x T x V array of logits.

The logits of a batch of 32 x 64 tokens over 49,152 words take 400 MB in float32, written and read several times. Here
they live for a few rows at a time, and what is kept for the backward pass is d logprob / d hidden, (N, H).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from training.core.batch_planner import logprob_rows
from training.rl import products


def logit_scale(model: Any) -> float:
    """Return what a model of transformers multiplies its output layer's products by: 1 for most, 1/8 for Granite."""
    config = model.config.get_text_config()
    for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"):  # Cohere, Muse, Falcon-H1
        if (scale := getattr(config, name, None)) is not None:
            return float(scale)
    if (scaling := getattr(config, "logits_scaling", None)) is None:
        return 1.0
    return float(scaling) if config.model_type == "hyperclovax" else 1 / float(scaling)


def scaled_states(model: Any, states: Tensor) -> Tensor:
    """Return last states (N, H) whose products with the output layer's weight are the model's logits."""
    scale = logit_scale(model)
    return states if scale == 1 else states * scale


@torch.no_grad()
def logits_are_products(model: Any) -> bool:
    """Return whether a model's logits are its last states times its output layer times `logit_scale`: without a bias,
    as Phi's has, and without a cap, as Gemma 2's has."""
    weight = model.get_output_embeddings().weight
    ids = torch.arange(6, device=weight.device)[None].mul(31).remainder(weight.shape[0])
    logits = model(input_ids=ids, use_cache=False).logits.float()
    states = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state.to(weight.dtype)
    products = F.linear(scaled_states(model, states), weight).float()
    allowed = 1e-4 if weight.dtype == torch.float32 else 1e-2
    return not bool((logits - products).abs().mean() > allowed * logits.abs().mean())  # NaN is told elsewhere


def token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    tokens: Tensor,
    temperature: float = 1.0,
    *,
    entropies: bool = False,
    rows: int | None = None,
    output: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return log softmax(hidden @ weight.T / temperature) at `tokens`, and the entropy of that distribution.

    hidden (N, H), weight (V, H), tokens (N,) -> logprobs (N,) float32, entropies (N,) float32.
    Gradients flow from logprobs to hidden and weight, none from the entropies, which are for logs. These are 0 unless
    they are asked for, because they cost two more passes over the vocabulary. `rows` are computed at once. `output`
    multiplies by the weight, where it is laid out already (`training.rl.linear`) and does not learn.
    """
    rows = rows or logprob_rows(hidden.device.type, len(weight))
    return _TokenLogprobs.apply(hidden, weight, tokens, temperature, entropies, rows, output)


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, tokens: Tensor, temperature: float, with_entropies: bool, rows: int,
        output: Callable[[Tensor], Tensor] | None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        N = hidden.shape[0]
        logprobs = torch.empty(N, dtype=torch.float32, device=hidden.device)
        entropies = torch.zeros_like(logprobs)
        slopes = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for start in range(0, N, rows):
            part = slice(start, start + rows)
            logits, probs = _distribution(hidden[part], weight, temperature, output)
            chosen = weight[tokens[part]]
            normaliser = _normaliser(logits, probs, tokens[part])
            # The chosen logit in float32: a bfloat16 logit near 20 is rounded to eighths, a tenth of the clip range.
            logprobs[part] = (hidden[part].float() * chosen.float()).sum(-1) / temperature - normaliser
            if with_entropies:
                entropies[part] = normaliser - torch.linalg.vecdot(probs, logits.float())
            if slopes is not None:
                slopes[part] = (chosen - probs.to(weight.dtype) @ weight) / temperature
        ctx.save_for_backward(slopes, hidden, weight, tokens)
        ctx.temperature, ctx.rows = temperature, rows
        ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(
        ctx: Any, grad_logprobs: Tensor, _: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None, None, None, None]:
        slopes, hidden, weight, tokens = ctx.saved_tensors
        grad_hidden = None if slopes is None else slopes * grad_logprobs[:, None].to(slopes.dtype)
        if not ctx.needs_input_grad[1]:
            return grad_hidden, None, None, None, None, None, None
        # A trained output layer needs the probabilities again: kept, they would be the array this module avoids.
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        for start in range(0, hidden.shape[0], ctx.rows):
            part = slice(start, start + ctx.rows)
            _, probs = _distribution(hidden[part], weight, ctx.temperature)
            probs.neg_().scatter_add_(1, tokens[part, None], torch.ones_like(probs[:, :1]))
            grad_weight += (probs * (grad_logprobs[part, None] / ctx.temperature)).T @ hidden[part].float()
        return grad_hidden, grad_weight.to(weight.dtype), None, None, None, None, None


def _distribution(
    hidden: Tensor, weight: Tensor, temperature: float, output: Callable[[Tensor], Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Return logits (n, V) in the weight's dtype and probabilities (n, V) in float32."""
    logits = products.logits(hidden, weight) if output is None else output(hidden)
    if temperature != 1:
        logits = logits / temperature
    return logits, logits.softmax(-1, dtype=torch.float32)


def _normaliser(logits: Tensor, probs: Tensor, tokens: Tensor) -> Tensor:
    """Return log sum exp(logits), (n,), from one token's logit and probability: no further pass over the vocabulary."""
    at = tokens[:, None]
    if (probs.gather(1, at) < 1e-30).any():  # that token's probability may have lost its digits: take the likeliest
        at = logits.argmax(-1, keepdim=True)
    return (logits.gather(1, at).float() - probs.gather(1, at).log())[:, 0]
