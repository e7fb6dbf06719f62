"""Lay out linear layers as a decoder wants them: several fused, the weight laid out once for the processor, adapters
beside it.

`training.rl.products` says how a weight is laid out. Adapters are two small products beside the weight's own, as they
are where they are trained: merged, most of a small update would round back to the weight, and what is sampled would not
be the policy. They are merged where the weight is float32 and stays so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from training.rl.factors import Factors
from training.rl.lora import factors_beside
from training.rl.products import HALVES, fits_float16, way_for


class Linear:
    """The rows of several modules' weights below each other: x (..., in) -> (..., sum of out)."""

    def __init__(self, *modules: nn.Module, exact: bool = False) -> None:
        """`exact`: as `training.rl.products.way_for`."""
        self.modules, self.exact = modules, exact
        self.is_merged = False
        self._read_weights([])
        self.refresh()

    def refresh(self) -> None:
        """Read what learns again: the adapters, or the weights themselves. Adapters that were merged and are off now
        are taken out."""
        factors = [factors_beside(module) for module in self.modules]
        merges = any(factors) and self.dtype == torch.float32 and self.way is not HALVES
        if merges or self.is_merged or any(_learns(module) for module in self.modules):
            self._read_weights(factors if merges else [])
        self.is_merged = merges
        self.low_rank = None if merges or not any(factors) else _below_each_other(factors, self.rows)

    def _read_weights(self, merged: list[Factors | None]) -> None:
        weights: list[Any] = [module.weight for module in self.modules]
        biases: list[Any] = [module.bias for module in self.modules]
        self.bias = None if biases[0] is None else torch.cat([b.detach() for b in biases])
        self.rows = [len(weight) for weight in weights]
        self.width, self.dtype = sum(self.rows), weights[0].dtype
        weight = torch.cat([w.detach() for w in weights]) if len(weights) > 1 else weights[0].detach()
        self.way = way_for(weight, learns=any(_learns(module) for module in self.modules), exact=self.exact)
        self.rounds = self.way is HALVES and not self.exact and not fits_float16(weight, exact=True)
        if merged:
            weight = weight.clone() if len(weights) == 1 else weight  # else it is a copy already
            for factors, part in zip(merged, weight.split(self.rows), strict=True):
                if factors is not None:
                    part.addmm_(factors.b, factors.a)
        self.weight = self.way.lay_out(weight)

    def __call__(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        y = self.way.multiply(flat, self.weight)
        if self.bias is not None:
            y += self.bias
        if self.low_rank is not None:
            a, b = self.low_rank
            y.addmm_(flat @ a, b)
        return y.view(*x.shape[:-1], self.width)


@dataclass(frozen=True)
class Layer:
    """Hold what a decoder reads of a layer built like Llama's."""

    input_norm: Tensor
    qkv: Linear
    q_norm: Tensor | None
    k_norm: Tensor | None
    output: Linear
    post_norm: Tensor
    gate_up: Linear
    down: Linear

    @property
    def linears(self) -> tuple[Linear, ...]:
        return self.qkv, self.output, self.gate_up, self.down


def read_layer(layer: Any, exact: bool) -> Layer:
    """Return a layer laid out; `exact`: as `Linear`."""
    attention, mlp = layer.self_attn, layer.mlp
    q_norm, k_norm = getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)
    with torch.no_grad():
        return Layer(
            input_norm=layer.input_layernorm.weight,
            qkv=Linear(attention.q_proj, attention.k_proj, attention.v_proj, exact=exact),
            q_norm=None if q_norm is None else q_norm.weight,
            k_norm=None if k_norm is None else k_norm.weight,
            output=Linear(attention.o_proj, exact=exact),
            post_norm=layer.post_attention_layernorm.weight,
            gate_up=Linear(mlp.gate_proj, mlp.up_proj, exact=exact),
            down=Linear(mlp.down_proj, exact=exact),
        )


def _learns(module: nn.Module) -> bool:
    weight: Any = module.weight
    return bool(weight.requires_grad)


def _below_each_other(factors_by_module: list[Factors | None], rows: list[int]) -> tuple[Tensor, Tensor]:
    """Return (in, R) and (R, sum of out) of all modules' factors: each one's b stands in its own columns, zeros
    elsewhere."""
    placed = [
        (factors, end - count, end) for factors, count, end in _places(factors_by_module, rows) if factors is not None
    ]
    a = torch.cat([factors.a for factors, _, _ in placed])
    b = a.new_zeros(len(a), sum(rows))
    start = 0
    for factors, first, last in placed:
        b[start : start + factors.rank, first:last] = factors.b.T
        start += factors.rank
    return a.T, b


def _places(factors_by_module: list[Factors | None], rows: list[int]) -> list[tuple[Factors | None, int, int]]:
    ends = torch.tensor(rows).cumsum(0).tolist()
    return list(zip(factors_by_module, rows, ends, strict=True))
