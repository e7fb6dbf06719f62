"""Standardise features and rotate them to the principal axes of the training rows: z = standardise(x) @ axes.

The L2 penalty is the same in rotated coordinates, and there a diagonal scaling all but whitens the problem: L-BFGS
needs some fifteen steps where it needed a hundred.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Protocol, TypeVar

import torch
from scipy.linalg import eigh
from torch import Tensor

from training.recipes.reward.designs.shared_passes import SharedPasses
from training.recipes.reward.designs.stored_features import Features, StoredFeatures
from training.recipes.reward.designs.thread_counts import all_threads, one_thread

T = TypeVar("T")


class Weighted(Protocol):
    @property
    def weight(self) -> Tensor:
        """Return (F,) on standardised features."""


@dataclass(frozen=True)
class Design(ABC):
    axes: Tensor  # (F, R)
    spread: Tensor  # (R,) sum of squares of the training rows along each axis
    mean: Tensor  # (F,)
    std: Tensor  # (F,)

    at_once: ClassVar[int] = 1  # tasks that are worth running side by side, where there are many

    @staticmethod
    def of(features: Features, rows: Tensor) -> Design:
        """Return the design of (N, F) features; `rows` index the completions that standardise and rotate."""
        return _streamed(features, rows) if isinstance(features, StoredFeatures) else _whole(features, rows)

    @abstractmethod
    def __len__(self) -> int:
        """Return N, the number of completions."""

    @abstractmethod
    def scores(self, head: Weighted) -> Tensor:
        """Return (N,) by a head that was fitted on this design."""

    @abstractmethod
    def scorer(self, rows: Tensor, kept: Tensor, scale: Tensor) -> Callable[[Tensor], Tensor]:
        """Return a function from (len(kept),) weights along the `kept` axes, scaled by `scale`, to (N,) scores.

        Those of `rows` are right; nobody is to look at others. Differentiable, twice.
        """

    @abstractmethod
    def run_each(self, tasks: Sequence[Callable[[Design], T]]) -> list[T]:
        """Return what each task gives, called with this design: side by side where they can read it together."""


@dataclass(frozen=True)
class WholeDesign(Design):
    z: Tensor  # (N, R) every completion

    def __len__(self) -> int:
        return len(self.z)

    def scores(self, head: Weighted) -> Tensor:
        return self.z @ (self.axes.T @ head.weight)

    def scorer(self, rows: Tensor, kept: Tensor, scale: Tensor) -> Callable[[Tensor], Tensor]:
        z, count = self.z[rows][:, kept] * scale, len(self.z)
        return lambda along: torch.zeros(count, dtype=torch.float64).index_put((rows,), z @ along)

    def run_each(self, tasks: Sequence[Callable[[Design], T]]) -> list[T]:
        return [task(self) for task in tasks]


@dataclass(frozen=True)
class StreamedDesign(Design):
    """Hold no completion: each product is a pass over the files. Nothing is rotated but weights."""

    passes: SharedPasses

    at_once: ClassVar[int] = 8

    def __len__(self) -> int:
        return len(self.passes.features)

    def scores(self, head: Weighted) -> Tensor:
        return self._scores(head.weight, torch.ones(len(self), dtype=torch.bool))

    def scorer(self, rows: Tensor, kept: Tensor, scale: Tensor) -> Callable[[Tensor], Tensor]:
        wanted = torch.zeros(len(self), dtype=torch.bool)
        wanted[rows] = True
        empty = torch.zeros(self.axes.shape[1], dtype=torch.float64)
        return lambda along: self._scores(self.axes @ empty.index_put((kept,), scale * along), wanted)

    def run_each(self, tasks: Sequence[Callable[[Design], T]]) -> list[T]:
        passes = SharedPasses(self.passes.features, len(tasks))
        design = replace(self, passes=passes)
        with one_thread(), ThreadPoolExecutor(len(tasks)) as pool:
            running = [pool.submit(passes.run, partial(task, design)) for task in tasks]
            return [task.result() for task in running]

    def _scores(self, weight: Tensor, wanted: Tensor) -> Tensor:
        return self.passes.times(weight / self.std, wanted) - (self.mean / self.std) @ weight


def _whole(pooled: Tensor, rows: Tensor) -> WholeDesign:
    mean, std = pooled[rows].double().mean(0), pooled[rows].double().std(0).clamp(min=1e-6)
    x = (pooled.double() - mean) / std
    training = x[rows]
    if training.shape[0] < training.shape[1]:
        spread, left = torch.linalg.eigh(training @ training.T)
        is_kept = spread > 1e-9 * spread[-1]
        spread = spread[is_kept]
        axes = training.T @ (left[:, is_kept] / spread.sqrt())
    else:
        spread, axes = torch.linalg.eigh(training.T @ training)
    return WholeDesign(axes, spread.clamp(min=0), mean, std, x @ axes)


def _streamed(features: StoredFeatures, rows: Tensor) -> StreamedDesign:
    wanted = torch.zeros(len(features), dtype=torch.bool)
    wanted[rows] = True
    mean, std = features.moments(wanted)
    std = std.clamp(min=1e-6)
    gram = features.gram(mean, std, wanted).numpy()
    with all_threads():  # in place, since its copies would be the most that a run holds
        spread, axes = map(torch.from_numpy, eigh(gram.T, overwrite_a=True, check_finite=False, driver="evr"))
    return StreamedDesign(axes, spread.clamp(min=0), mean, std, SharedPasses(features))
