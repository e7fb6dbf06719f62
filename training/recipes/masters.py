"""Weights in float32 that AdamW moves, and the model's own in the dtype it multiplies in.

A step of 1e-4 on a bfloat16 weight of 0.1 rounds to nothing, and so does a small gradient added to a large sum: weights
and accumulated gradients are float32 here, and the model holds a rounded copy. Where the model computes in float32, its
weights are the masters, and nothing is copied.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Masters:
    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        """Moves the model's trained float32 weights into `dtype`; what is frozen stays as it is."""
        self.trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.masters: dict[str, Tensor] = {}
        for name, parameter in self.trained.items():
            if parameter.dtype == dtype or not _is_rounded(name):
                self.masters[name] = parameter
                continue
            self.masters[name] = parameter.detach().float().clone()
            parameter.data = parameter.data.to(dtype)

    def optimiser(self, *, rate: float, weight_decay: float, beta2: float) -> torch.optim.AdamW:
        """Decay on matrices only: a norm's gain or a bias that shrinks to 0 is no simpler function."""
        matrices = [m for m in self.masters.values() if m.ndim >= 2]
        vectors = [m for m in self.masters.values() if m.ndim < 2]
        groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        return torch.optim.AdamW([g for g in groups if g["params"]], lr=rate, betas=(0.9, beta2), eps=1e-8, fused=True)

    @torch.no_grad()
    def collect(self) -> None:
        """Add the gradients of one backward pass to the masters'."""
        for name, parameter in self.trained.items():
            master = self.masters[name]
            if master is parameter or parameter.grad is None:
                continue
            if master.grad is None:
                master.grad = parameter.grad.float()
            else:
                master.grad += parameter.grad
            parameter.grad = None

    @torch.no_grad()
    def publish(self) -> None:
        """The masters, rounded, into the model."""
        for name, parameter in self.trained.items():
            if self.masters[name] is not parameter:
                parameter.copy_(self.masters[name])

    @property
    def gradients(self) -> list[Tensor]:
        return [m.grad for m in self.masters.values() if m.grad is not None]


def _is_rounded(name: str) -> bool:
    """Adapters stay float32: they round themselves as they are used (`training.rl.lora`)."""
    return not name.endswith((".lora_a", ".lora_b"))
