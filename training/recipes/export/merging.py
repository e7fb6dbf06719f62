"""Merge adapters for programs that know none: in float32, and measure how much of the trained update each precision
keeps.

A weight of 0.1 moves by 1e-4 in training, and bfloat16's grid is 5e-4 wide there: merged into bfloat16, an update is
half lost. What is written says what it kept: the cosine of the exported to the trained update, over all its weights.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from training.recipes.common import adapters, loading
from training.recipes.common.base_index import INDEX

REWARD = "reward.json"
SHARD = 4 << 30  # bytes
# What belongs to an adapter, or says where its base lies on this machine.
OWN = (adapters.CONFIG, adapters.WEIGHTS, adapters.ABOUT, INDEX, "config.json")


def has_adapters(folder: Path) -> bool:
    """Return whether a model's folder is an adapter, or holds one, as a reward model's may."""
    return any(folder.rglob(adapters.CONFIG))


def names_trunk(folder: Path) -> bool:
    """Return whether the folder is a reward model's that says where its trunk lay on this machine."""
    return bool(_read(folder / REWARD).get("trunk_was"))


def _read(path: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return facts


def kept_cosine(folder: Path, rounded: Callable[[Tensor], Tensor]) -> float:
    """Return the cosine of the update after `rounded` to the trained one; 1 for a model without an adapter."""
    update = adapters.read_adapter(folder) if adapters.is_adapter(folder) else {}
    cosine = Cosine()
    for key, merged in adapters.merged_state(folder):
        factors = update.get(key.removesuffix(".weight"))
        if factors is None:
            continue
        trained = factors.product()
        cosine.note(trained, rounded(merged) - merged + trained)
    return cosine.value


class Cosine:
    """Sum up the cosine of a kept update to the trained one over all layers, of which one is in memory at a time."""

    def __init__(self) -> None:
        self._dot = self._of_kept = self._of_trained = 0.0

    def note(self, trained: Tensor, kept: Tensor) -> None:
        self._dot += float((kept.double() * trained).sum())
        self._of_kept += float(kept.double().square().sum())
        self._of_trained += float(trained.double().square().sum())

    @property
    def value(self) -> float:
        if not self._of_trained:
            return 1.0
        return self._dot / math.sqrt(self._of_kept * self._of_trained) if self._of_kept else 0.0


def write_merged(source: Path, target: Path) -> None:
    """Write a copy of a model's folder that needs no other and names none of this machine: adapters in it are merged,
    in float32."""
    target.mkdir(parents=True)
    is_adapter = adapters.is_adapter(source)
    base = adapters.base_folder(source).resolve()
    for path in sorted(source.iterdir()):
        if path.is_dir():
            if path.resolve() != base:  # an imported adapter's lies inside its folder, and is merged
                write_merged(path, target / path.name)
        elif not (is_adapter and path.name in OWN):
            shutil.copy2(path, target / path.name)
    if is_adapter:
        _write_weights(source, target)
    if facts := _read(target / REWARD):
        facts["trunk_was"] = ""
        if has_adapters(source):
            facts["trunk_hash"] = loading.weights_hash(target / "trunk")
        (target / REWARD).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _write_weights(source: Path, target: Path) -> None:
    config: dict[str, Any] = json.loads((adapters.base_folder(source) / "config.json").read_text(encoding="utf-8"))
    config |= {"dtype": "float32"}
    config.pop("torch_dtype", None)
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    shards = list(_sharded(source, target))
    if len(shards) == 1:
        (target / shards[0][0]).rename(target / "model.safetensors")
        return
    weight_map = {key: name for name, keys in shards for key in keys}
    total = sum((target / name).stat().st_size for name, _ in shards)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (target / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def _sharded(source: Path, target: Path) -> Iterator[tuple[str, list[str]]]:
    """Write the weights, some gigabytes at a time, and yield (file, names of the weights in it)."""
    shard: dict[str, Tensor] = {}
    number = 0

    def written() -> tuple[str, list[str]]:
        name = f"model-{number:05d}.safetensors"
        save_file(shard, target / name, metadata={"format": "pt"})
        return name, list(shard)

    for key, tensor in adapters.merged_state(source):
        if shard and sum(t.nbytes for t in shard.values()) + tensor.nbytes > SHARD:
            number += 1
            yield written()
            shard = {}
        shard[key] = tensor.contiguous()
    number += 1
    yield written()


def write_adapter_alone(source: Path, target: Path, base: str) -> None:
    """Write an adapter as PEFT reads it anywhere, over the base of that name; no folder of this machine is in it."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.is_file() and (path.name not in OWN or path.name == adapters.WEIGHTS):
            shutil.copy2(path, target / path.name)
    config = adapters.read_config(source) | {"base_model_name_or_path": base}
    (target / adapters.CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def stored_dtype(folder: Path) -> torch.dtype:
    """Return the dtype of the first matrix as it is stored."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118, no mapping
                if (tensor := file.get_tensor(key)).ndim == 2:
                    return tensor.dtype
    return torch.float32
