"""Cut a decoder in two: a frozen lower trunk that is run once per rollout, and the layers above it.

With adapters above the cut only, the lower layers are one function for policy, reference, value and reward (trlX's
"hydra"). The cut works on decoders laid out like Llama's; `cut_agrees` compares it with the model's own forward, so
that a model with another layout is refused and not silently miscomputed.

Causal attention for training on a processor is computed here three to six times faster than by torch's fused kernel,
whose backward pass repeats the key heads of grouped-query attention and runs far below the machine's rate on sequences
of a few hundred tokens (58 ms a layer for 16 x 100 tokens where this takes 8). The query heads of one key head are
stacked as so many positions, and two batched products do the work. The T x T scores are kept for the backward pass, so
that long sequences stay with the fused kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from training.rl.advantages import completion_mask
from training.rl.packed.packed_layers import attends_to_all, run_packed
from training.rl.packed.packed_rows import lay

# Thirty layers in bfloat16 by two orders of summation: 0.016 to 0.026 of the states' size was measured on finetuned
# models whose float32 states agree to 1e-6. A layout that is not Llama's changes them by their own size.
ROUNDING = 0.1
NAME = "assay_grouped"
LONGEST = 512


def grouped_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """Return the attention of query (B, Q, T, D), key and value (B, K, T, D) with Q a multiple of K -> (B, T, Q, D)."""
    B, Q, T, D = query.shape
    K = key.shape[1]
    future = torch.full((T, T), float("-inf"), dtype=query.dtype, device=query.device).triu(1)
    scores = (query.reshape(B, K, Q // K * T, D) @ key.transpose(2, 3)).view(B, K, Q // K, T, T)
    weights = torch.add(future, scores, alpha=scaling).softmax(-1)
    mixed = weights.view(B, K, Q // K * T, T) @ value
    return mixed.view(B, Q, T, D).transpose(1, 2), None


AttentionInterface.register(NAME, grouped_attention)


@contextmanager
def fast_attention(model: nn.Module, hidden: Tensor) -> Iterator[None]:
    """Let the layers of `model`, run without a mask on hidden (B, T, H) within the block, use it where it is the faster
    one."""
    config = model.config
    usual = config._attn_implementation
    if hidden.device.type == "cpu" and hidden.shape[1] <= LONGEST and usual == "sdpa":
        config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = usual


def run_layers(
    base: nn.Module, hidden: Tensor, first: int, last: int, keep: frozenset[int] = frozenset(),
    texts: list[list[int]] | None = None, states: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, dict[int, Tensor]]:  # fmt: skip
    """Run layers `first` to `last` (exclusive) of a decoder on hidden (B, T, H), without the final norm.

    Sequences stand flush left, padding behind them: the causal order alone hides it, and attention without a mask is
    several times faster than with one.

    `keep` names hidden-state indices in transformers' counting (0 embeddings, i after layer i) to return; the very last
    one is returned normed, as transformers' `hidden_states[-1]` is.

    With `texts`, the token ids of each sequence, padding is left out of the work and comes back as zeros, and what
    several sequences begin with is computed once: they tell which tokens are one, hidden what they are. For models that
    `packed_agrees` with.
    With `states`, rows (M,) and columns (M,), those alone are returned in place of all, (M, H).
    """
    if texts is not None:
        return _run_unpadded(base, hidden, first, last, keep, texts, states)
    position_ids = torch.arange(hidden.shape[1], device=hidden.device)[None]
    position_embeddings = base.rotary_emb(hidden, position_ids=position_ids)
    kept_states = {first: hidden} if first in keep else {}
    with fast_attention(base, hidden):
        for index in range(first, last):
            hidden = base.layers[index](
                hidden, attention_mask=None, position_ids=position_ids, position_embeddings=position_embeddings
            )
            if index + 1 in keep:
                kept_states[index + 1] = base.norm(hidden) if index + 1 == len(base.layers) else hidden
    return hidden if states is None else hidden[states], kept_states


def _run_unpadded(
    base: nn.Module, hidden: Tensor, first: int, last: int, keep: frozenset[int], texts: list[list[int]],
    states: tuple[Tensor, Tensor] | None,
) -> tuple[Tensor, dict[int, Tensor]]:  # fmt: skip
    B, T, H = hidden.shape
    lengths = torch.tensor([len(text) for text in texts], device=hidden.device)
    positions = completion_mask(lengths, T).flatten().nonzero()[:, 0]  # of the tokens, in (B * T)
    laid = lay(base, texts, hidden.dtype)

    def padded(packed: Tensor) -> Tensor:
        return packed.new_zeros(B * T, H).index_copy(0, positions, packed[laid.index]).view(B, T, H)

    kept_states = {first: hidden} if first in keep else {}
    packed = hidden.reshape(B * T, H)[positions[laid.firsts]]
    wanted = None if states is None else laid.index[(lengths.cumsum(0) - lengths)[states[0]] + states[1]]
    # Where the last layer's states are kept, too, all of them are computed.
    early = wanted if last not in keep else None
    stops = sorted({i for i in keep if first < i < last} | {last})
    for start, stop in zip([first, *stops], stops, strict=False):
        packed = run_packed(base, packed, laid.rows, start, stop, wanted=early if stop == last else None)
        if stop in keep:
            kept_states[stop] = padded(base.norm(packed) if stop == len(base.layers) else packed)
    if wanted is None:
        return padded(packed), kept_states
    return packed if early is not None else packed[wanted], kept_states


@torch.no_grad()
def cut_agrees(model: nn.Module, cut: int) -> bool:
    """Return whether the model, run in two parts, gives its own last hidden states."""
    if not attends_to_all(model.config):  # `run_layers` gives no mask, so that a window would be lost
        return False
    try:
        base = model.get_decoder()
        device = model.get_input_embeddings().weight.device
        ids = torch.arange(12, device=device).view(2, 6).mul(31).remainder(model.config.vocab_size)
        expected = base(input_ids=ids).last_hidden_state
        lower, _ = run_layers(base, base.embed_tokens(ids), 0, cut)
        parts = base.norm(run_layers(base, lower, cut, len(base.layers))[0])
    except (AttributeError, TypeError, RuntimeError):
        return False
    difference = (expected - parts).float().abs().mean() / expected.float().abs().mean()
    return bool(difference < (1e-3 if expected.dtype == torch.float32 else ROUNDING))
