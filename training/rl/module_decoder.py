"""Say what a decoder does, and decode with any causal LM of transformers, by its own forward and its own cache.

What that gives is what another decoder of the model is compared with before it is trusted.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROUNDING = 0.1  # of the logits' size, in less than float32


class Decoder(Protocol):
    def prefill(self, input_ids: Tensor, attention_mask: Tensor, max_new_tokens: int) -> Tensor:
        """Start a batch. input_ids, attention_mask (B, P) -> logits of the next token (B, V)."""

    def step(self, tokens: Tensor) -> Tensor:
        """Return the logits of the next token (B, V) from tokens (B,), the ones just drawn."""

    def select(self, rows: Tensor) -> None:
        """Keep only these rows of the batch, in this order; an index may repeat."""


class ModuleDecoder:
    """Decode with any causal LM of transformers, by its own forward and its own cache."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def refresh(self, first_layer: int) -> None:
        """Do nothing: nothing is copied, so nothing is stale."""

    @torch.no_grad()
    def prefill(self, input_ids: Tensor, attention_mask: Tensor, max_new_tokens: int) -> Tensor:
        self.attention_mask = attention_mask
        positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
        return self._forward(input_ids, positions, None)

    @torch.no_grad()
    def step(self, tokens: Tensor) -> Tensor:
        self.attention_mask = F.pad(self.attention_mask, (0, 1), value=1)
        positions = self.attention_mask.sum(1, keepdim=True) - 1
        return self._forward(tokens[:, None], positions, self.cache)

    def select(self, rows: Tensor) -> None:
        self.cache.batch_select_indices(rows)
        self.attention_mask = self.attention_mask[rows]

    def agrees_with(self, other: Decoder, steps: int) -> bool:
        """Return whether another decoder gives nearly the same logits on rows of different lengths, of a prefill and
        of so many steps: the third is the second that a graph replays."""
        weight, rows, longest = self.model.get_input_embeddings().weight, 7, 8
        # Tokens that make no sense, without those that end texts and pad them: all later ones look at these.
        ids = torch.arange(rows * longest, device=weight.device).view(rows, longest).mul(37).add(101)
        ids = ids.remainder(weight.shape[0])
        columns = torch.arange(longest, device=weight.device)
        mask = (columns >= longest - 2 - columns[:rows, None]).long()
        a, b = (decoder.prefill(ids, mask, steps) for decoder in (other, self))
        agrees = _nearly_same(a.float(), b.float(), weight.dtype)
        for column in range(steps):
            a, b = (decoder.step(ids[:, column]) for decoder in (other, self))
            agrees = agrees and _nearly_same(a.float(), b.float(), weight.dtype)
        return agrees

    def _forward(self, input_ids: Tensor, position_ids: Tensor, cache: Any) -> Tensor:
        output = self.model(
            input_ids, attention_mask=self.attention_mask, position_ids=position_ids, use_cache=True,
            logits_to_keep=1, **({} if cache is None else {"cache": cache}),
        )  # fmt: skip
        self.cache = output.cache
        return output.logits[:, -1]


def _nearly_same(a: Tensor, b: Tensor, dtype: torch.dtype) -> bool:
    """Return whether logits (B, V) are the same but for rounding, in bfloat16 those of the middle row.

    That was 0.03 to 0.04 apart, of its size, and up to 0.14 to 0.48 where something else was computed; a row alone can
    be 0.3 apart by rounding.
    """
    if dtype == torch.float32:
        return bool((a.softmax(-1) - b.softmax(-1)).abs().sum(-1).max() < 0.1)
    a, b = (logits - logits.mean(-1, keepdim=True) for logits in (a, b))
    return bool(((a - b).norm(dim=-1) / b.norm(dim=-1)).median() < ROUNDING)
