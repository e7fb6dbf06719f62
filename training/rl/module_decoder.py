"""Say what a decoder does, and decode with any causal LM of transformers, by its own forward and its own cache."""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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

    def _forward(self, input_ids: Tensor, position_ids: Tensor, cache: Any) -> Tensor:
        output = self.model(
            input_ids, attention_mask=self.attention_mask, position_ids=position_ids, use_cache=True,
            logits_to_keep=1, **({} if cache is None else {"cache": cache}),
        )  # fmt: skip
        self.cache = output.cache
        return output.logits[:, -1]
