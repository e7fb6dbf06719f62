"""Choose how a processor multiplies vectors by a weight: one table, by what the machine has.

| weight | machine | laid out as | computed in |
|---|---|---|---|
| bfloat16 | x86 with AMX or AVX512-BF16, and whatever else oneDNN packs for | oneDNN's blocks | bfloat16 |
| float32, frozen | x86 with AVX2 or more (FBGEMM) | panels of float16 | float32 |
| float32, learning | whatever oneDNN packs for | oneDNN's blocks | float32 |
| float32, an output layer that texts are scored with | x86 of AMD | as it is, by oneDNN in place of MKL | float32 |
| any other, and every GPU | the rest: ARM without oneDNN, CUDA, MPS | as it is | its own dtype |

Reading weights is what a product of few rows spends its time on, so that half the bytes are up to twice the speed, and
what is laid out once is read in one stream. Weights of a bfloat16 checkpoint fit into float16 all but exactly (three
bits of precision to spare; of the smallest, 1e-8 is lost), so that products are those of float32 within rounding.
Weights that were trained in float32 lose 1.5e-4 of their size; whoever may not lose it asks for `exact`. A weight that
learns keeps its digits: steps of 1e-6 would round to nothing.

The choice depends on the processor's flags and the weight's values, never on a timing: the same machine computes the
same bits again, with any number of threads. What stands beside a row changes its rounding at most, and by oneDNN's
blocks not even that.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CPU_INFO = Path("/proc/cpuinfo")
LOSSLESS = 1e-6  # of a weight's norm: less than a sum in float32 loses


@dataclass(frozen=True)
class Way:
    """How to lay a weight (out, in) out, and to multiply x (N, in) by it: (N, out)."""

    name: str
    lay_out: Callable[[Tensor], Any]
    multiply: Callable[[Tensor, Any], Tensor]


def _by_onednn(x: Tensor, weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")


AS_IT_IS = Way("as it is", lambda weight: weight, F.linear)
ONEDNN = Way("as it is, by oneDNN", lambda weight: weight, _by_onednn)
BLOCKS = Way("blocks", lambda weight: torch.ops.mkldnn._reorder_linear_weight(weight), _by_onednn)
HALVES = Way(
    "float16",
    lambda weight: torch.ops.quantized.linear_prepack_fp16(weight.contiguous(), None),
    lambda x, weight: torch.ops.quantized.linear_dynamic_fp16(x, weight),
)


def logits(hidden: Tensor, weight: Tensor) -> Tensor:
    """Multiply some hundred states (N, H) by an output layer's weight (V, H) as it lies in memory: (N, V). Without
    gradients."""
    by_onednn = weight.dtype == torch.float32 and weight.device.type == "cpu" and _mkl_is_slow()
    return (ONEDNN if by_onednn else AS_IT_IS).multiply(hidden, weight)


@functools.cache
def _mkl_is_slow() -> bool:
    """Return whether torch multiplies float32 by MKL on a processor of AMD, for which it has no kernels of its own:
    weights of many rows at a half to two thirds of oneDNN's rate, others at the same."""
    if not torch.backends.mkl.is_available() or not works(ONEDNN, torch.float32):
        return False
    return "AuthenticAMD" in (CPU_INFO.read_text() if CPU_INFO.is_file() else platform.processor())


def way_for(weight: Tensor, *, learns: bool = False, exact: bool = False) -> Way:
    """Return how to multiply by a weight. `exact`: only within what the dtype's own sums lose."""
    if weight.device.type != "cpu" or weight.dtype not in (torch.float32, torch.bfloat16):
        return AS_IT_IS
    if weight.dtype == torch.float32 and not learns and works(HALVES, weight.dtype) and fits_float16(weight, exact):
        return HALVES
    return BLOCKS if works(BLOCKS, weight.dtype) else AS_IT_IS


@functools.cache
def works(way: Way, dtype: torch.dtype) -> bool:
    """Return whether this machine and this torch have a way, and it gives what the plain product gives."""
    if way is HALVES and "fbgemm" not in torch.backends.quantized.supported_engines:
        return False
    if way in (BLOCKS, ONEDNN) and not torch.backends.mkldnn.is_available():
        return False
    weight = torch.linspace(-1, 1, 48 * 64).view(48, 64).to(torch.float16).to(dtype)
    x = torch.linspace(-1, 1, 5 * 64).view(5, 64).cos().to(dtype)
    expected = F.linear(x, weight).float()
    try:
        found = way.multiply(x, way.lay_out(weight)).float()
    except (AttributeError, NotImplementedError, RuntimeError):
        return False
    return bool((found - expected).norm() < (1e-5 if dtype == torch.float32 else 1e-2) * expected.norm())


def fits_float16(weight: Tensor, exact: bool) -> bool:
    """Return whether float16 holds a float32 weight: all within its range and, if `exact`, without loss."""
    half = weight.half()
    if not bool(half.isfinite().all()):
        return False
    lost = torch.linalg.vector_norm(half.float() - weight)
    return bool(lost <= (LOSSLESS if exact else 1e-3) * torch.linalg.vector_norm(weight))
