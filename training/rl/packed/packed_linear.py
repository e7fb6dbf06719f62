"""Multiply one input by several linear layers with their adapters, and write out the derivatives.

The thin products with A of all of them are one product, which reads the input once, and so are those towards the input
and towards A. What A made of the input is kept for the backward pass: r numbers a token and layer.

Shapes: N tokens, r rank, R of all the layers together.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from training.rl.lora import LoRALinear, factors_beside


class LinearGroup:
    """Linear layers that read the same x, with their adapters or without: y = x W' + (x A') B' for each of them.

    A (r, in) and B (out, r) are the parent's frozen factors and then those that learn, if there are any.
    """

    def __init__(self, *modules: Any) -> None:
        self.modules = modules
        self.plain = [getattr(module, "base", module) for module in modules]
        self.learns = [isinstance(module, LoRALinear) and module.switch.on for module in modules]
        factors = [factors_beside(module) for module in modules]
        a = [part.a for part in factors if part is not None]
        self.a = None if not a else torch.cat(a) if len(a) > 1 else a[0]
        self.b = [None if part is None else part.b for part in factors]
        self.ranks = [0 if b is None else b.shape[1] for b in self.b]

    def learnt(self) -> list[Tensor]:
        """Return what gets a gradient, layer by layer."""
        return [p for i in range(len(self.modules)) for p in self._learnt(i)]

    def _learnt(self, i: int) -> list[Tensor]:
        if self.learns[i]:
            return [self.modules[i].lora_a, self.modules[i].lora_b]
        return [p for p in (self.plain[i].weight, self.plain[i].bias) if p is not None and p.requires_grad]

    def down(self, x: Tensor) -> Tensor | None:
        """Return x A' of all layers, (N, R)."""
        return None if self.a is None else x @ self.a.T

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Return each layer's y, and x A', which `backward` needs."""
        down = self.down(x)
        outputs = [F.linear(x, plain.weight, plain.bias) for plain in self.plain]
        for y, b, part in zip(outputs, self.b, self._parts(down), strict=True):
            if b is not None and part is not None:
                y.addmm_(part, b.T)
        return outputs, down

    def backward(
        self, x: Tensor, down: Tensor | None, slopes: list[Tensor], *, is_lowest: bool = False
    ) -> tuple[Tensor | None, list[Tensor]]:
        """Return d/dx, and the derivatives by what `learnt` names. No d/dx where `is_lowest`: nothing learns below."""
        towards_down = self._towards_down(slopes)
        towards_x = None
        if not is_lowest:
            towards_x = slopes[0] @ self.plain[0].weight
            for slope, plain in zip(slopes[1:], self.plain[1:], strict=True):
                towards_x.addmm_(slope, plain.weight)
            if towards_down is not None and self.a is not None:
                towards_x.addmm_(towards_down, self.a)
        return towards_x, self._of_learnt(x, down, slopes, towards_down)

    def _towards_down(self, slopes: list[Tensor]) -> Tensor | None:
        parts = [slope @ b for slope, b in zip(slopes, self.b, strict=True) if b is not None]
        return None if not parts else torch.cat(parts, 1) if len(parts) > 1 else parts[0]

    def _of_learnt(
        self, x: Tensor, down: Tensor | None, slopes: list[Tensor], towards_down: Tensor | None
    ) -> list[Tensor]:
        towards_a = [x] * len(slopes)  # of no use where no adapter learns
        if towards_down is not None and any(self.learns):
            towards_a = list((towards_down.T @ x).float().split(self.ranks))
        found: list[Tensor] = []
        for i, (slope, part) in enumerate(zip(slopes, self._parts(down), strict=True)):
            if self.learns[i] and part is not None:
                module, rank = self.modules[i], self.modules[i].lora_a.shape[0]  # the last ones
                found += [towards_a[i][-rank:], (slope.T @ part[:, -rank:]).float().mul_(module.scaling)]
            else:
                weight = self.plain[i].weight
                found += [slope.T @ x if p is weight else slope.sum(0) for p in self._learnt(i)]
        return found

    def _parts(self, down: Tensor | None) -> list[Tensor | None]:
        """Return each layer's columns of (N, R)."""
        return [None] * len(self.ranks) if down is None else list(down.split(self.ranks, 1))
