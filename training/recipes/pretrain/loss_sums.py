"""Pass a batch through a model to its loss, and sum losses: in nats, over tokens."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from training.recipes.common import sharding
from training.recipes.common.processes import Processes
from training.recipes.common.token_loss import token_loss
from training.recipes.pretrain import architectures
from training.recipes.pretrain.objectives import IGNORED, Batch
from training.rl.factors import in_float64
from training.rl.logprobs import scaled_states


@dataclass
class Sums:
    """Sum losses in nats and the tokens they are over; those of causal rows apart."""

    nats: float = 0.0
    tokens: int = 0
    causal_nats: float = 0.0
    causal_tokens: int = 0
    norm: float = 0.0

    @property
    def loss(self) -> float:
        return self.nats / max(self.tokens, 1)

    def add(self, other: Sums) -> None:
        self.nats += other.nats
        self.tokens += other.tokens
        self.causal_nats += other.causal_nats
        self.causal_tokens += other.causal_tokens
        self.norm = other.norm

    def over(self, together: Processes) -> Sums:
        nats, tokens, causal_nats, causal = together.total(self.nats, self.tokens, self.causal_nats, self.causal_tokens)
        return Sums(nats, int(tokens), causal_nats, int(causal), self.norm)

    def by_kind(self) -> dict[str, float]:
        """Return the losses of causal and of masked rows, where there are both."""
        if not 0 < self.causal_tokens < self.tokens:
            return {}
        masked = (self.nats - self.causal_nats) / (self.tokens - self.causal_tokens)
        return {"causal_loss": self.causal_nats / self.causal_tokens, "masked_loss": masked}


def forward(model: Any, batch: Batch, scale: float) -> tuple[torch.Tensor, Sums]:
    """Return the loss times `scale`, and its sums by kind of row."""
    return sharding.call(_forward, model, batch, scale)


def _forward(model: Any, batch: Batch, scale: float) -> tuple[torch.Tensor, Sums]:
    weight = model.get_output_embeddings().weight
    batch = to_device(batch, weight.device)
    hidden, labels = architectures.hidden_states(model, batch)
    loss, losses = token_loss(scaled_states(model, hidden), weight, labels, scale)
    is_causal = batch.causal[:, None].expand_as(batch.labels)[batch.labels != IGNORED]
    causal_losses = losses[is_causal]
    return loss, Sums(
        float(in_float64(losses).sum()),
        len(losses),
        float(in_float64(causal_losses).sum()),
        len(causal_losses),
    )


def to_device(batch: Batch, device: torch.device) -> Batch:
    if device.type == "cpu":
        return batch
    return replace(batch, **{f.name: t.to(device) for f in fields(batch) if (t := getattr(batch, f.name)) is not None})
