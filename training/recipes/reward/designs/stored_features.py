"""Read pooled features from files in blocks: what is in memory does not depend on how many rows there are.

Files are mapped, and the pages of a block are given back once it was read: else the system counts them all as the
process's own. A block in float64 fits a core's cache; few vectors are its rows' products at three times the speed
where each vector lies in one piece. Sums over rows are added up in ranges whose number is fixed, so
that they are the same on any number of cores.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from training.core.processor_share import usable_cores
from training.recipes.reward.designs.thread_counts import all_threads, one_thread

IN_MEMORY = 2**25  # numbers, 256 MB in float64: so many are read at once
BLOCK = 2**18  # numbers of a block
GRAM_BLOCK = 2**22  # numbers of a block whose products of columns are summed
RANGES = 16

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """One file of features: `values` (R, W) are mapped, `rows` (R,) say which completions they are."""

    values: np.ndarray
    memory: mmap.mmap
    offset: int
    rows: Tensor

    def forget(self, begin: int, end: int) -> None:
        """Give the pages of these rows back to the system, which keeps them in its cache as long as it has room."""
        size = self.values.shape[1] * self.values.itemsize
        start = (self.offset + begin * size) // mmap.PAGESIZE * mmap.PAGESIZE
        self.memory.madvise(mmap.MADV_DONTNEED, start, self.offset + end * size - start)


def open_part(path: Path, rows: Iterable[int]) -> Part:
    """Return the float32 tensor "pooled" (R, W) of a safetensors file; `rows` are its completions."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))["pooled"]
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if header["dtype"] != "F32":
        raise ValueError(f"{path} holds {header['dtype']}, not F32.")
    offset = 8 + length + header["data_offsets"][0]
    count = int(np.prod(header["shape"]))
    values = np.frombuffer(memory, np.float32, count, offset).reshape(header["shape"])
    return Part(values, memory, offset, torch.tensor(list(rows)))


@dataclass(frozen=True)
class StoredFeatures:
    """Hold (N, F) features, read from `parts` when they are asked for: their columns in these `slices`."""

    parts: tuple[Part, ...]
    count: int
    slices: tuple[slice, ...]

    def __len__(self) -> int:
        return self.count

    @property
    def width(self) -> int:
        return sum(s.stop - s.start for s in self.slices)

    def of(self, slices: Iterable[slice]) -> StoredFeatures:
        return replace(self, slices=tuple(slices))

    def times(self, weights: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Return (K, N) in float64: `weights` (K, F) times the features, 0 in rows that are not `wanted` (N,)."""
        scores = torch.zeros(len(weights), self.count, dtype=torch.float64)

        def add(blocks: list[tuple[Part, int, int]]) -> None:
            for rows, x in self._read(blocks, wanted):
                scores[:, rows] = weights @ x.T

        self._in_ranges(add)
        return scores

    def transposed_times(self, gradients: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Return (K, F) in float64: `gradients` (K, N) times the `wanted` rows of the features."""

        def add(blocks: list[tuple[Part, int, int]]) -> Tensor:
            total = torch.zeros(len(gradients), self.width, dtype=torch.float64)
            for rows, x in self._read(blocks, wanted):
                total.addmm_(gradients[:, rows], x)
            return total

        return torch.stack(self._in_ranges(add)).sum(0)

    def moments(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and the standard deviation (F,) of the `wanted` rows."""
        centre = next(x[0] for _, x in self._read(self._blocks(BLOCK), wanted))

        def add(blocks: list[tuple[Part, int, int]]) -> Tensor:
            total = torch.zeros(2, self.width, dtype=torch.float64)
            for _, x in self._read(blocks, wanted):
                x -= centre
                total += torch.stack([x.sum(0), x.square().sum(0)])
            return total

        total, squares = torch.stack(self._in_ranges(add)).sum(0)
        count = int(wanted.sum())
        variance = (squares - total.square() / count) / max(count - 1, 1)
        return centre + total / count, variance.clamp(min=0).sqrt()

    def gram(self, mean: Tensor, std: Tensor, wanted: Tensor) -> Tensor:
        """Return (F, F) in float64: the products of standardised columns over the `wanted` rows, each block's in
        float32."""
        total = torch.zeros(self.width, self.width, dtype=torch.float64)
        with all_threads():
            for _, x in self._read(self._blocks(GRAM_BLOCK), wanted):
                block = x.sub_(mean).div_(std).float().numpy()
                total += torch.from_numpy(block.T @ block)  # numpy computes each of the two halves once
        return total

    def whole(self) -> Tensor:
        """Return (N, F) float32."""
        values = torch.zeros(self.count, self.width)
        for part in self.parts:
            for begin, end in _ranges(len(part.rows), max(BLOCK // part.values.shape[1], 1)):
                values[part.rows[begin:end]] = self._copied(part.values[begin:end], np.float32)
                part.forget(begin, end)
        return values

    def _copied(self, block: np.ndarray, dtype: type) -> Tensor:
        """Return these columns of a block."""
        copy: np.ndarray = np.empty((len(block), self.width), dtype)
        start = 0
        for columns in self.slices:
            stop = start + columns.stop - columns.start
            copy[:, start:stop], start = block[:, columns], stop
        return torch.from_numpy(copy)

    def _read(self, blocks: Iterable[tuple[Part, int, int]], wanted: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (rows, their features in float64) of blocks, the `wanted` ones."""
        for part, begin, end in blocks:
            rows, values = part.rows[begin:end], part.values[begin:end]
            is_wanted = wanted[rows] if wanted is not None else None
            if is_wanted is not None and not is_wanted.any():
                continue
            if is_wanted is not None and not is_wanted.all():
                rows, values = rows[is_wanted], values[is_wanted.numpy()]
            features = self._copied(values, np.float64)
            part.forget(begin, end)
            yield rows, features

    def _blocks(self, numbers: int) -> list[tuple[Part, int, int]]:
        size = max(numbers // self.width, 1)
        return [(part, *ends) for part in self.parts for ends in _ranges(len(part.rows), size)]

    def _in_ranges(self, add: Callable[[list[tuple[Part, int, int]]], T]) -> list[T]:
        """Return what `add` gives for each range of blocks, in their order, on all cores."""
        blocks = self._blocks(BLOCK)
        size = max(-(-len(blocks) // RANGES), 1)
        with one_thread(), ThreadPoolExecutor(min(usable_cores(), RANGES)) as pool:
            return list(pool.map(add, (blocks[begin:end] for begin, end in _ranges(len(blocks), size))))


Features = Tensor | StoredFeatures


def read_few(features: StoredFeatures) -> Features:
    """Return the features in memory where they are few: few numbers, or fewer rows than columns. A matrix of all pairs
    of columns is in memory anyway."""
    fits = features.count * features.width <= IN_MEMORY or features.count < features.width
    return features.whole() if fits else features


def _ranges(count: int, size: int) -> Iterator[tuple[int, int]]:
    return ((begin, min(begin + size, count)) for begin in range(0, count, size))
