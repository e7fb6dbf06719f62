"""Read and write a child of LoRA training: its base and an adapter, in PEFT's format.

    adapter_config.json         as PEFT reads it; base_model_name_or_path is the absolute folder of the base
    adapter_model.safetensors   lora_A (r, in) and lora_B (out, r) of every adapted layer; the scaling is folded into B
    base.json                   the base's folder as seen from here, where it was, and the hash of its weights
    tokenizer files, generation_config.json
    config.json and an index of the base's files, for transformers (`training.recipes.common.base_index`)

The base is a folder with full weights, never an adapter: a chain of children keeps one base, and the adapters of its
links are concatenated (`training.rl.factors`).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.core.adapter_base import ABOUT as ABOUT
from training.core.adapter_base import CONFIG as CONFIG
from training.core.adapter_base import candidates as candidates
from training.core.adapter_base import is_adapter as is_adapter
from training.core.adapter_base import locate_base, read_about
from training.core.file_checks import content_hashes
from training.core.run_directory import RecipeFailure
from training.rl.factors import Factors, Update
from training.rl.lora import LoRALinear

WEIGHTS = content_hashes.ADAPTER_WEIGHTS
PREFIX = "base_model.model."  # PEFT's, before the names of the base's own modules

# What of PEFT's options would make another function of the same two factors.
REFUSED = ("use_dora", "modules_to_save", "layer_replication", "alora_invocation_tokens", "target_parameters")
# How factors may have begun, by PEFT's word. Others (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) take something off the base's
# weights first, so that factors and base are not the model that was trained.
BEGINNINGS = ("gaussian", "eva", "orthogonal", "mica")


@dataclass(frozen=True)
class Base:
    """The full-weights model below an adapter. `hash` is that of its weights, "" where the adapter does not say."""

    folder: Path
    hash: str


def is_model(folder: str | Path) -> bool:
    """Return whether the folder holds a model: full weights, or an adapter."""
    return is_adapter(folder) or (Path(folder) / "config.json").is_file()


def base_folder(folder: str | Path) -> Path:
    """Return the folder of the full weights: the model's own, or its adapter's base, see `base_of`."""
    return base_of(folder).folder if is_adapter(folder) else Path(folder)


def base_of(folder: str | Path) -> Base:
    """Return an adapter's base, also where both have moved together. Raises RecipeFailure when it is gone."""
    folder = Path(folder)
    named, about = read_config(folder).get("base_model_name_or_path") or "", read_about(folder)
    base = locate_base(folder, str(named), about)
    if base is None:
        raise RecipeFailure(
            "base_missing",
            f"The model in {folder} is an adapter, and its base is not in {named}.",
            "Restore the base model's folder, or import the model again with its full weights.",
        )
    return Base(base.resolve(), about.get("hash", ""))


def read_config(folder: str | Path) -> dict[str, Any]:
    """Return adapter_config.json. Raises RecipeFailure when it is not a plain LoRA adapter."""
    config: dict[str, Any] = json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8"))
    refused = [f"{name} = {config[name]!r}" for name in REFUSED if config.get(name)]
    if isinstance(begun := config.get("init_lora_weights"), str) and begun.lower() not in BEGINNINGS:
        refused.append(f"init_lora_weights = {begun!r}")
    if config.get("peft_type") != "LORA" or config.get("bias", "none") != "none" or refused:
        text = ", ".join([f"peft_type = {config.get('peft_type')!r}", *refused])
        raise RecipeFailure(
            "unknown_adapter",
            f"The adapter in {folder} is not a plain LoRA adapter: {text}.",
            "Merge it into its base, and import the merged model.",
        )
    return config


def read_adapter(folder: str | Path) -> dict[str, Factors]:
    """Return an adapter's factors by layer, in the dtype they are stored in, scaling folded into b."""
    folder, config = Path(folder), read_config(folder)
    tensors = load_file(folder / WEIGHTS)
    factors: dict[str, Factors] = {}
    for key in sorted(tensors):
        if not key.endswith(".lora_A.weight"):
            continue
        name = key.removesuffix(".lora_A.weight")
        a, b = tensors.pop(key), tensors.pop(f"{name}.lora_B.weight")
        name = name.removeprefix(PREFIX)
        scaling = _scaling(config, name, a.shape[0])
        factors[name] = Factors(a, b if scaling == 1 else b.float() * scaling)
    if tensors:
        raise RecipeFailure(
            "unknown_adapter",
            f"The adapter in {folder} holds {sorted(tensors)[0]}, which is not a factor of a linear layer.",
            "Merge it into its base, and import the merged model.",
        )
    return factors


def _scaling(config: dict[str, Any], name: str, rank: int) -> float:
    patterns = config.get("alpha_pattern") or {}
    named = [alpha for key, alpha in patterns.items() if re.match(rf"(.*\.)?({key})$", name)]  # as PEFT does
    alpha = float(named[0] if named else config.get("lora_alpha", rank))
    return alpha / (rank**0.5 if config.get("use_rslora") else rank)


def write_adapter(folder: str | Path, update: Update, base: Base, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write an adapter's three files; the tokenizer and generation_config are the caller's.

    The base's folder is kept as seen from `folder`: a run writes beside the place that the folder gets at the end.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    ranks = {name: factors.rank for name, factors in update.items()}
    usual = max(set(ranks.values()), key=list(ranks.values()).count)
    others = {name: rank for name, rank in ranks.items() if rank != usual}
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(base.folder.resolve()),
        "r": usual, "lora_alpha": usual, "rank_pattern": others, "alpha_pattern": others, "lora_dropout": 0.0,
        "target_modules": sorted(ranks), "bias": "none", "fan_in_fan_out": False, "inference_mode": True,
    }  # fmt: skip
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tensors = {}
    for name, factors in update.items():
        tensors[f"{PREFIX}{name}.lora_A.weight"] = factors.a.detach().to("cpu", dtype).contiguous()
        tensors[f"{PREFIX}{name}.lora_B.weight"] = factors.b.detach().to("cpu", dtype).contiguous()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    about = {
        "folder": os.path.relpath(base.folder.resolve(), folder.resolve()),
        "was": str(base.folder.resolve()),
        "hash": base.hash,
    }
    (folder / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def adapter_hash(folder: str | Path, base_hash: str) -> str:
    """Return the hash of a plain LoRA adapter. Raises RecipeFailure for another one."""
    read_config(folder)
    return content_hashes.adapter_hash(folder, base_hash)


@torch.no_grad()
def trained_factors(model: nn.Module) -> dict[str, Factors]:
    """Return what LoRA layers have learnt, float32 on the CPU, by the base's names; empty for a model without any.

    Knows our own layers and PEFT's. What is frozen below them (`FrozenLoRA`) is the parent's and no part of it.
    """
    factors: dict[str, Factors] = {}
    for name, module in model.named_modules():
        if isinstance(module, LoRALinear):
            factors[name.removeprefix(PREFIX)] = module.factors().to(device="cpu")
        elif hasattr(module, "lora_A") and getattr(module, "active_adapters", None):
            active = module.active_adapters[0]
            if active in module.lora_A:
                a, b = (layers[active].weight.detach().float() for layers in (module.lora_A, module.lora_B))
                factors[name.removeprefix(PREFIX)] = Factors(a, b * module.scaling[active]).to(device="cpu")
    return factors


def merged_state(folder: str | Path) -> Iterator[tuple[str, Tensor]]:
    """Yield every weight of a model folder by its name in the safetensors, float32, with its adapter merged in.

    A trunk's adapter may leave out the first part of its layers' names. One tensor is in memory at a time. Raises
    RecipeFailure when the adapter names a layer that the base has not.
    """
    update = read_adapter(folder) if is_adapter(folder) else {}
    left = set(update)
    for path in sorted(base_folder(folder).glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118, no mapping
                tensor, name = file.get_tensor(key), key.removesuffix(".weight")
                tensor = tensor.float() if tensor.is_floating_point() else tensor
                name = name if name in left else name.partition(".")[2]
                if name in left:
                    left.remove(name)
                    tensor = tensor + update[name].product()
                yield key, tensor
    if left:
        raise RecipeFailure(
            "unknown_adapter",
            f"The adapter in {folder} adapts {sorted(left)[0]}, which its base does not have.",
            "Use the base that the adapter was trained on.",
        )
