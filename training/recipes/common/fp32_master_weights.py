"""Keep float32 weights that AdamW moves, and the model's own in the dtype it multiplies in.

A step of 1e-4 on a bfloat16 weight of 0.1 rounds to nothing, and so does a small gradient added to a large sum: weights
and accumulated gradients are float32 here, and the model holds a rounded copy. Where the model computes in float32, its
weights are the masters, and nothing is copied.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def trained_parameters(model: Any) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


class Masters:
    def __init__(self, trained: dict[str, torch.nn.Parameter], dtype: torch.dtype | None = None) -> None:
        """Move what is trained into `dtype`, without adapters; None leaves it in its dtype."""
        self.trained = trained
        self.masters: dict[str, Tensor] = {}
        for name, parameter in trained.items():
            rounded = parameter.dtype if dtype is None or _is_adapter(name) else dtype
            if parameter.dtype == rounded == torch.float32:
                self.masters[name] = parameter
                continue
            self.masters[name] = parameter.detach().float().clone()
            parameter.data = parameter.data.to(rounded)

    def optimiser(self, *, rate: float, weight_decay: float, beta2: float) -> torch.optim.AdamW:
        """Return AdamW with decay on matrices only: a norm's gain or a bias that shrinks to 0 is no simpler
        function."""
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
        """Write the masters, rounded, into the model."""
        for name, parameter in self.trained.items():
            if self.masters[name] is not parameter:
                # By its data: a graph that is kept while other weights are tried notices nothing.
                parameter.data.copy_(self.masters[name])

    def all_gradients(self) -> list[Tensor]:
        """Return the gradients of all that learns, in one order: zeros where this process had nothing to learn from."""
        for master in self.masters.values():
            if master.grad is None:
                master.grad = torch.zeros_like(master)
        return self.gradients

    @property
    def gradients(self) -> list[Tensor]:
        return [m.grad for m in self.masters.values() if m.grad is not None]


def _is_adapter(name: str) -> bool:
    """Return whether the weight is an adapter's, which stays float32: it rounds itself as it is used
    (`training.rl.lora`)."""
    return name.endswith((".lora_a", ".lora_b"))
