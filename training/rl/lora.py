"""Add LoRA adapters with float32 master copies (Hu 2021, 2106.09685).

A base in bfloat16 keeps its speed; what Adam moves is float32, because a step of 1e-4 on a bfloat16 number of 0.1
rounds to nothing. Adapters are switched off for the reference policy.

A parent that is itself a base and an adapter keeps its factors beside its weights (`FrozenLoRA`): added to a bfloat16
weight, most of a small update rounds back to that weight. In float32 they are merged, which is exact and cheap.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.rl.factors import Factors, Update


class FrozenLoRA(nn.Linear):
    """A linear layer and its frozen update: x W' + (x a') b'. `weight` and `bias` are those without the update.

    A layer becomes one in place (`freeze`), so that whatever holds it, names it or wraps it goes on as before.
    """

    a: Tensor  # (r, in), in the dtype that multiplies
    b: Tensor  # (out, r)

    def forward(self, x: Tensor) -> Tensor:
        return self.without_update(x) + F.linear(F.linear(x, self.a), self.b)

    def without_update(self, x: Tensor) -> Tensor:
        return super().forward(x)


@functools.cache
def _frozen(kind: Any) -> type[FrozenLoRA]:
    """Return the same for a linear layer that multiplies in a way of its own, as one in 4 bits does."""
    return FrozenLoRA if kind is nn.Linear else type("Frozen" + kind.__name__, (FrozenLoRA, kind), {})


def _multiplies_in(layer: nn.Linear) -> torch.dtype:
    """Return the dtype of a layer's products: its weight's, or what bitsandbytes says of one in 4 bits."""
    if layer.weight.is_floating_point():
        return layer.weight.dtype
    named: Any = getattr(layer, "compute_dtype", None)
    return named or torch.bfloat16


def freeze(layer: nn.Linear, factors: Factors) -> None:
    """Give a layer a frozen update, in place. Raises ValueError where the shapes do not fit."""
    if (factors.b.shape[0], factors.a.shape[1]) != (layer.out_features, layer.in_features):
        raise ValueError(
            f"An update of {factors.b.shape[0]} x {factors.a.shape[1]} does not fit a layer of "
            f"{layer.out_features} x {layer.in_features}."
        )
    device_factors = factors.to(_multiplies_in(layer), layer.weight.device)
    kind: Any = type(layer)
    layer.__class__ = _frozen(kind)
    layer.register_buffer("a", device_factors.a, persistent=False)
    layer.register_buffer("b", device_factors.b, persistent=False)


@torch.no_grad()
def apply_update(model: nn.Module, update: Update) -> None:
    """Make a model that of base and update: merged where its weights are float32, frozen beside them elsewhere.

    Raises ValueError when the model has no such linear layer. Names may lack the model's own prefix ("model.").
    """
    layers = dict(model.named_modules())
    prefix = getattr(model, "base_model_prefix", "") + "."
    for name, factors in update.items():
        layer = layers.get(name) or layers.get(name.removeprefix(prefix))
        if not isinstance(layer, nn.Linear):
            raise ValueError(f"The model has no linear layer {name}.")
        if layer.weight.dtype == torch.float32:
            layer.weight += factors.to(device=layer.weight.device).product()
        else:
            freeze(layer, factors)


class Switch:
    """A switch shared by all adapters of a model: on for the policy, off for the reference."""

    on: bool = True

    @contextmanager
    def off(self) -> Iterator[None]:
        self.on = False
        try:
            yield
        finally:
            self.on = True


class LoRALinear(nn.Module):
    """Compute base(x) + scaling * B(A(x)). A (r, in) is random, B (out, r) is zero: at first the same function."""

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
        """Return the weight without the adapter."""
        return self.base.weight

    @property
    def bias(self) -> Tensor | None:
        return self.base.bias

    @property
    def multiplies_in(self) -> torch.dtype:
        return _multiplies_in(self.base)

    def factors(self) -> Factors:
        """Return what was trained, float32, its scaling folded into b."""
        return Factors(self.lora_a.detach().float(), self.lora_b.detach().float() * self.scaling)

    def forward(self, x: Tensor) -> Tensor:
        if not self.switch.on:
            return self.base(x)
        a, b = self.lora_a.to(x.dtype), (self.lora_b * self.scaling).to(x.dtype)
        if isinstance(self.base, FrozenLoRA):  # one sum and one rounding, as in the child that is saved
            y = self.base.without_update(x)
            a, b = torch.cat([self.base.a, a]), torch.cat([self.base.b, b], 1)
        else:
            y = self.base(x)  # which may hold its weight in 4 bits
        return y + F.linear(F.linear(x, a), b)


@torch.no_grad()
def factors_beside(module: nn.Module) -> Factors | None:
    """Return what a linear layer adds to its weight, in the dtype that multiplies: frozen factors first, then those
    that learn while they are switched on, PEFT's too. None for a plain layer. Raises TypeError for a wrapped one whose
    wrapper is neither."""
    wrapped: Any = getattr(module, "base_layer", None)  # by PEFT
    plain = module.base if isinstance(module, LoRALinear) else module if wrapped is None else wrapped
    parts = [Factors(plain.a, plain.b)] if isinstance(plain, FrozenLoRA) else []
    if isinstance(module, LoRALinear) and module.switch.on:
        parts.append(module.factors().to(module.multiplies_in))
    if wrapped is not None:
        parts += [factors.to(wrapped.weight.dtype) for factors in _factors_of_peft(module)]
    if len(parts) < 2:
        return parts[0] if parts else None
    return Factors(torch.cat([p.a for p in parts]), torch.cat([p.b for p in parts], 1))


def _factors_of_peft(module: Any) -> list[Factors]:
    """Return the adapters of a layer of PEFT's that are in force."""
    is_plain = hasattr(module, "lora_A") and not any(getattr(module, "lora_variant", {}).values())
    if not is_plain or module.merged or any(layer.bias is not None for layer in module.lora_B.values()):
        raise TypeError(f"{type(module).__name__} is not its weight and LoRA factors beside it.")
    names = [] if module.disable_adapters else [name for name in module.active_adapters if name in module.lora_A]
    return [Factors(module.lora_A[name].weight, module.lora_B[name].weight * module.scaling[name]) for name in names]


def add_adapters(layers: Iterator[nn.Module] | nn.ModuleList, rank: int, alpha: float, seed: int) -> Switch:
    """Put an adapter on every linear layer below `layers`, and return the switch of them all. Raises ValueError where
    there is none: nothing would learn."""
    switch, generator, count = Switch(), torch.Generator().manual_seed(seed), 0
    for layer in layers:
        for parent in list(layer.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Linear) and not isinstance(parent, LoRALinear):
                    setattr(parent, name, LoRALinear(child, rank, alpha, switch, generator))
                    count += 1
    if not count:
        raise ValueError("The model has no linear layer for an adapter. Set adapters to full.")
    return switch


def adapter_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the adapters' parameters by name, in the order of the model."""
    return {name: p for name, p in model.named_parameters() if name.endswith((".lora_a", ".lora_b"))}
