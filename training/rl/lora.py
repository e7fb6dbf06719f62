"""LoRA adapters with float32 master copies (Hu 2021, 2106.09685).

A base in bfloat16 keeps its speed; what Adam moves is float32, because a step of 1e-4 on a bfloat16 number of 0.1
rounds to nothing. Adapters are switched off for the reference policy and merged for rollouts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Switch:
    """Shared by all adapters of a model: on for the policy, off for the reference."""

    on: bool = True

    @contextmanager
    def off(self) -> Iterator[None]:
        self.on = False
        try:
            yield
        finally:
            self.on = True


class LoRALinear(nn.Module):
    """base(x) + scaling * B(A(x)). A (r, in) is random, B (out, r) is zero: at first the same function."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float, switch: Switch, generator: torch.Generator) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        device = base.weight.device
        bound = 1 / math.sqrt(base.in_features)
        a = torch.empty(rank, base.in_features).uniform_(-bound, bound, generator=generator)
        self.lora_a = nn.Parameter(a.to(device))
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, rank, device=device))
        self.scaling = alpha / rank
        self.switch = switch

    @property
    def weight(self) -> Tensor:
        """Without the adapter."""
        return self.base.weight

    @property
    def bias(self) -> Tensor | None:
        return self.base.bias

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)  # which may hold its weight in 4 bits
        if not self.switch.on:
            return y
        down = F.linear(x, self.lora_a.to(x.dtype))
        return y + F.linear(down, (self.lora_b * self.scaling).to(x.dtype))

    @torch.no_grad()
    def merge_into(self, weight: Tensor) -> None:
        """Fill `weight` (out, in) with that of one plain linear layer that computes the same."""
        dtype = self.base.weight.dtype
        torch.addmm(self.base.weight, (self.lora_b * self.scaling).to(dtype), self.lora_a.to(dtype), out=weight)


def add_adapters(layers: Iterator[nn.Module] | nn.ModuleList, rank: int, alpha: float, seed: int) -> Switch:
    """Put an adapter on every linear layer below `layers`, and return the switch of them all."""
    switch, generator = Switch(), torch.Generator().manual_seed(seed)
    for layer in layers:
        for parent in list(layer.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Linear) and not isinstance(parent, LoRALinear):
                    setattr(parent, name, LoRALinear(child, rank, alpha, switch, generator))
    return switch


def adapter_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """By name, in the order of the model."""
    return {name: p for name, p in model.named_parameters() if name.endswith((".lora_a", ".lora_b"))}


@torch.no_grad()
def merge_adapters(model: nn.Module) -> None:
    """Replace every adapted layer by the plain linear layer that computes the same. Not to be undone."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoRALinear):
                merged = torch.empty_like(child.base.weight)
                child.merge_into(merged)
                child.base.weight.copy_(merged)
                setattr(parent, name, child.base)
