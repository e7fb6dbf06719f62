"""Hold the memory of a training stage, part by part, and what each process would hold of it with full sharding.

What is there the whole time stands beside phases (training, sampling, saving) of which one is there at a time: the peak
has the largest. All bytes are those of one process. Knows no torch: forms show it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from training.core import resource_estimate
from training.core.memory.decoder_sizes import Decoder

Bytes = dict[str, float]
CUDA_CONTEXT = 1.0e9  # CUDA's own, the libraries' workspaces, and what the allocator cannot fill
DIVIDED = ("weights", "reference", "gradients", "master weights", "optimiser")


@dataclass(frozen=True)
class Hardware:
    """Say what computes: `available` bytes are free, infinite where nobody knows."""

    device: str = "cuda"
    dtype_bytes: int = 2
    available: float = math.inf

    @property
    def process(self) -> float:
        return CUDA_CONTEXT if self.device == "cuda" else resource_estimate.PROCESS


@dataclass(frozen=True)
class StageMemory:
    """Hold the bytes of each part: `standing` the whole time, and the parts of each phase."""

    standing: Bytes
    phases: Mapping[str, Bytes] = field(default_factory=dict)
    settings: str = ""  # what the recipe chooses by itself, in words

    @property
    def peak_phase(self) -> str:
        return max(self.phases, key=lambda name: sum(self.phases[name].values()), default="")

    @property
    def parts(self) -> Bytes:
        """Return the bytes of each part at the peak, without those that are 0."""
        both = {**self.standing, **self.phases.get(self.peak_phase, {})}
        return {name: value for name, value in both.items() if value}

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    def during(self, phase: str) -> float:
        return sum(self.standing.values()) + sum(self.phases[phase].values())


def sharded(stage: StageMemory, decoder: Decoder, count: int, dtype_bytes: int) -> StageMemory:
    """Return what each of `count` processes would hold with full sharding: its share of what is divided, and two blocks
    and an output layer gathered to compute with."""
    if count == 1:
        return stage
    gathered = (2 * decoder.block + decoder.vocabulary * decoder.width) * dtype_bytes
    standing = {**_divided(stage.standing, count), "gathered blocks": gathered}
    phases = {name: _divided(parts, count) for name, parts in stage.phases.items()}
    return StageMemory(standing, phases, stage.settings)


def _divided(parts: Bytes, count: int) -> Bytes:
    return {name: value / count if name in DIVIDED else value for name, value in parts.items()}
