"""Join, shorten and compare low-rank updates as factors, without ever forming the matrices that they stand for.

The update of one linear layer is b @ a with a (r, in) and b (out, r). Two that follow each other add up, and their
factors concatenate. The inner product of two updates needs r x r numbers and not out x in:
<b1 a1, b2 a2> = sum((b1' b2) * (a1 a2')).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


def in_float64(values: Tensor) -> Tensor:
    """Return values in float64: on the processor where their device has no such numbers, as Apple's MPS."""
    return values.cpu().double() if values.device.type == "mps" else values.double()


@dataclass(frozen=True)
class Factors:
    """The update b @ a of one weight (out, in): a (r, in), b (out, r)."""

    a: Tensor
    b: Tensor

    def __post_init__(self) -> None:
        if self.a.ndim != 2 or self.b.ndim != 2 or self.a.shape[0] != self.b.shape[1]:
            raise ValueError(f"a (r, in) and b (out, r) do not fit: {tuple(self.a.shape)}, {tuple(self.b.shape)}.")

    @property
    def rank(self) -> int:
        return self.a.shape[0]

    def to(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Factors:
        return Factors(self.a.to(device, dtype), self.b.to(device, dtype))

    def product(self) -> Tensor:
        """Return the update itself, (out, in) float32."""
        return self.b.float() @ self.a.float()


Update = Mapping[str, Factors]  # by the name of the linear layer


def concatenate(*updates: Update) -> dict[str, Factors]:
    """Return the sum of the updates: exact, ranks add."""
    sums: dict[str, Factors] = {}
    for update in updates:
        for name, factors in update.items():
            before = sums.get(name)
            if before is None:
                sums[name] = factors
                continue
            dtype = torch.promote_types(before.a.dtype, factors.a.dtype)
            first, second = before.to(dtype), factors.to(dtype, before.a.device)
            sums[name] = Factors(torch.cat([first.a, second.a]), torch.cat([first.b, second.b], 1))
    return sums


def negative(update: Update) -> dict[str, Factors]:
    return {name: Factors(factors.a, -factors.b) for name, factors in update.items()}


def inner(x: Update, y: Update) -> float:
    """Return the sum of the elementwise products of two updates, over all matrices."""
    total = 0.0
    for name in x.keys() & y.keys():
        first, second = x[name], y[name].to(device=x[name].a.device)
        a1, b1, a2, b2 = (in_float64(part) for part in (first.a, first.b, second.a, second.b))
        total += float(((b1.T @ b2) * (a1 @ a2.T)).sum())
    return total


def cosine(x: Update, y: Update) -> float:
    """Return the cosine of two updates over all matrices; 1 where both are zero, 0 where one is."""
    of_x, of_y = inner(x, x), inner(y, y)
    if of_x <= 0 or of_y <= 0:
        return 1.0 if of_x <= 0 and of_y <= 0 else 0.0
    return min(inner(x, y) / math.sqrt(of_x * of_y), 1.0)


@torch.no_grad()
def shrink(update: Update, most_rank: int, share: float = 0.0) -> tuple[dict[str, Factors], float]:
    """Return the best update of at most `most_rank` in each matrix, and the share of the norm that was lost.

    Of all matrices together, the smallest singular directions go as well, as long as what goes stays within `share` of
    the squared norm. Float32 throughout: QR of both factors, then the SVD of an r x r core.
    """
    parts = {name: _decompose(factors) for name, factors in update.items()}
    total = sum(float(in_float64(part.values).square().sum()) for part in parts.values())
    least = _threshold([part.values for part in parts.values()], share * total)
    shortened: dict[str, Factors] = {}
    lost_square = 0.0
    for name, part in parts.items():
        rank = max(min(int((part.values > least).sum()), most_rank), 1)
        lost_square += float(in_float64(part.values[rank:]).square().sum())
        root = part.values[:rank].sqrt()
        a, b = root[:, None] * part.right[:, :rank].T, part.left[:, :rank] * root
        shortened[name] = Factors(a.contiguous(), b.contiguous())
    return shortened, math.sqrt(lost_square / total) if total else 0.0


@dataclass(frozen=True)
class _Parts:
    left: Tensor  # (out, r), orthonormal columns
    values: Tensor  # (r,), descending
    right: Tensor  # (in, r), orthonormal columns


def _decompose(factors: Factors) -> _Parts:
    left, of_b = torch.linalg.qr(factors.b.float())
    right, of_a = torch.linalg.qr(factors.a.float().T)
    u, values, vh = torch.linalg.svd(of_b @ of_a.T, full_matrices=False)
    return _Parts(left @ u, values, right @ vh.T)


def _threshold(values: list[Tensor], room: float) -> float:
    """Return the largest singular value that may go, when all up to it go and their squares stay within `room`."""
    if room <= 0 or not values:
        return 0.0
    ascending = torch.cat([in_float64(v).cpu() for v in values]).sort().values
    count = int((ascending.square().cumsum(0) <= room).sum())
    return float(ascending[count - 1]) if count else 0.0
