"""Say which device a stage fits, and which settings to change where it does not fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from training.core.memory.decoder_sizes import Decoder
from training.core.memory.stage_counts import stage_memory
from training.core.memory.stage_memory import Hardware
from training.core.resource_estimate import ROOM

GB = 1e9
DEVICES = (8, 12, 16, 24, 32, 48, 80, 96, 141, 192)  # GB of the GPUs that there are
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


def find_remedy(kind: str, decoder: Decoder, config: Mapping[str, Any], hardware: Hardware) -> Remedy | None:
    """Return the first changes with which the stage fits: one alone, else several; None where none of them helps."""
    for changes in _candidates(kind, config, hardware):
        stage = stage_memory(kind, decoder, {**config, **changes}, hardware)
        if stage is not None and fits(stage.total, hardware.available):
            return Remedy(changes, stage.total)
    return None


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


def _steps(kind: str, config: Mapping[str, Any], hardware: Hardware) -> Iterator[Changes]:
    if kind in ("pretrain", "domain"):
        yield {"micro_batch_size": 1}
    if kind in ("dpo", "kto"):  # all processes together take so many; each takes one at least
        fewest, size = max(config.get("processes", 1), 2 if kind == "kto" else 1), config["batch_size"]
        yield {"micro_batch_size": next((n for n in range(fewest, size) if size % n == 0), size)}
    yield {"activation_checkpointing": "on"}
    if kind in ("reward", "sample"):
        yield {"batch_size": max(config["batch_size"] // 8, config.get("processes", 1))}
    if kind == "pretrain":
        return
    if config.get("adapters") == "full":
        yield {"adapters": "lora"}
    if kind == "ppo":
        if config.get("adapters") == "lora":
            yield {"adapters": "top"}
        yield {"batch_size": max(config["batch_size"] // 8, 2, config.get("processes", 1))}
    if kind == "sft" and hardware.device == "cuda":
        yield {"adapters": "qlora"}
    if kind == "reward":
        yield {"method": "head"}
