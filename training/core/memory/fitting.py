"""Say which device a stage fits, and which settings to change where it does not fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from training.core.memory.decoder_sizes import Decoder
from training.core.memory.stage_counts import stage_memory
from training.core.memory.stage_memory import Hardware, StageMemory, sharded
from training.core.resource_estimate import ROOM

GB = 1e9
DEVICES = (8, 12, 16, 24, 32, 48, 80, 96, 141, 192)  # GB of the GPUs that there are
SHARES = (2, 4, 8, 16, 32, 64)  # processes among which a model is split, each with a GPU
Changes = dict[str, Any]


@dataclass(frozen=True)
class Remedy:
    """Changes of a config with which the stage takes `total` bytes."""

    changes: Changes
    total: float


def fits(total: float, available: float) -> bool:
    return total <= ROOM * available


def smallest_device(total: float) -> int | None:
    """Return the smallest usual GPU that has room, in GB; None where none has."""
    return next((size for size in DEVICES if fits(total, size * GB)), None)


def process_memory(kind: str, decoder: Decoder, config: Mapping[str, Any], hardware: Hardware) -> StageMemory | None:
    """Return what each process of a run holds: its share of the model where `sharding` is full. None for kinds that are
    not counted.

    Recipes plan how many rows they compute at once by the room that is left, so by what sharding leaves.
    """
    count, size = config.get("processes", 1), hardware.dtype_bytes
    if config.get("sharding") != "full":
        return stage_memory(kind, decoder, config, hardware)
    whole = stage_memory(kind, decoder, config, replace(hardware, available=math.inf))
    if whole is None:
        return None
    saved = whole.total - sharded(whole, decoder, count, size).total
    planned = stage_memory(kind, decoder, config, replace(hardware, available=hardware.available + saved))
    return sharded(planned, decoder, count, size) if planned else None


def find_remedy(kind: str, decoder: Decoder, config: Mapping[str, Any], hardware: Hardware) -> Remedy | None:
    """Return the first changes with which the stage fits: one alone, else several; None where none of them helps."""
    for changes in _candidates(kind, config, hardware):
        if remedy := _remedy(changes, kind, decoder, config, hardware):
            return remedy
    return None


def find_shares(
    kind: str,
    decoder: Decoder,
    config: Mapping[str, Any],
    hardware: Hardware,
    is_allowed: Callable[[Changes], bool],
) -> Remedy | None:
    """Return the fewest processes, each on a device like `hardware`, that hold the stage when the model is split among
    them, with what must change besides; None where there are none that `is_allowed`."""
    for count in SHARES if "sharding" in config else ():
        split: Changes = {"processes": count, "sharding": "full"}
        for changes in (split, {**split, **_gentlest(kind, {**config, **split})}):
            if is_allowed(changes) and (remedy := _remedy(changes, kind, decoder, config, hardware)):
                return remedy
    return None


def _remedy(
    changes: Changes, kind: str, decoder: Decoder, config: Mapping[str, Any], hardware: Hardware
) -> Remedy | None:
    stage = process_memory(kind, decoder, {**config, **changes}, hardware)
    if stage is None or not fits(stage.total, hardware.available):
        return None
    return Remedy(changes, stage.total)


def _gentlest(kind: str, config: Mapping[str, Any]) -> Changes:
    """Return the settings that take least memory and change nothing of what is learnt."""
    steps = [step for step in _unchanging_steps(kind, config) if all(name in config for name in step)]
    return {name: value for step in steps for name, value in step.items()}


def _candidates(kind: str, config: Mapping[str, Any], hardware: Hardware) -> Iterator[Changes]:
    """Yield changes, those that cost least first: each alone, then all up to each."""
    steps = [
        changes
        for changes in _steps(kind, config, hardware)
        if all(name in config and config[name] != value for name, value in changes.items())
    ]
    yield from steps
    together: Changes = {}
    for changes in steps:
        together = {**together, **changes}
        yield together


def _unchanging_steps(kind: str, config: Mapping[str, Any]) -> Iterator[Changes]:
    if kind in ("pretrain", "domain"):
        yield {"micro_batch_size": 1}
    if kind in ("grpo", "rloo"):
        yield {"micro_batch_size": config.get("processes", 1)}
    yield {"activation_checkpointing": "on"}


def _steps(kind: str, config: Mapping[str, Any], hardware: Hardware) -> Iterator[Changes]:
    yield from _unchanging_steps(kind, config)
    if kind in ("reward", "sample"):
        yield {"batch_size": max(config["batch_size"] // 8, config.get("processes", 1))}
    if kind == "pretrain":
        return
    if config.get("adapters") == "full":
        yield {"adapters": "lora"}
    if kind in ("ppo", "grpo", "rloo") and config.get("adapters") == "lora":
        yield {"adapters": "top"}
    if kind == "ppo":
        yield {"batch_size": max(config["batch_size"] // 8, 2, config.get("processes", 1))}
    if kind == "sft" and hardware.device == "cuda":
        yield {"adapters": "qlora"}
    if kind == "reward":
        yield {"method": "head"}
