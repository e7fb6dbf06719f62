"""Say what memory a run that is not queued yet will take, counted from its model's sizes, and what fits. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from annotate.models import LanguageModel
from training import configs
from training.core.memory.decoder_sizes import Decoder, decoder_of_folder
from training.core.memory.fitting import GB, Remedy, find_remedy, find_shares, fits, process_memory, smallest_device
from training.core.memory.stage_counts import ANSWERS
from training.core.memory.stage_memory import Hardware
from training.runs.ordering import machine_speed

_LARGEST = 3  # parts that the line names
_USUAL_GB = 80  # of a GPU among several of which a model is split


@dataclass(frozen=True)
class CountedMemory:
    """Hold the bytes of each part at the peak. `fits` the memory here; None where this machine is not measured.

    `basis` says what is counted, `advice` what it fits and which options to change.
    """

    parts: dict[str, float]
    fits: bool | None
    basis: str
    advice: str
    changes: dict[str, Any]

    @property
    def total(self) -> float:
        return sum(self.parts.values())


def counted_memory(
    kind: str, config: Mapping[str, Any], parent: LanguageModel | None, annotations: float | None = None,
    answers: int = 0,
) -> CountedMemory | None:  # fmt: skip
    """Return the memory of one process of such a run; None where its kind or its model's sizes are not known.

    A reward model that chooses its method by the number of `annotations` is counted as a head alone below
    `finetune_from`, and where the number is not known as finetuned, which takes more. `answers` are those of each of
    its prompts; 0: not known.
    """
    if kind == "reward" and config["method"] == "auto" and annotations is not None:
        config = {**config, "method": "head" if annotations < config["finetune_from"] else "finetune"}
    if kind == "reward" and answers:
        config = {**config, ANSWERS: answers}
    decoder = decoder_of_folder(parent.path, parent.parameters) if parent else None
    if decoder is None:
        return None
    machine = machine_speed.measured()
    processes = config.get("processes", 1)
    hardware = _hardware(machine, processes)
    stage = process_memory(kind, decoder, config, hardware)
    if stage is None:
        return None
    size = "the model's sizes" if decoder.is_exact else "the sizes of a common model with as many parameters"
    largest = sorted(stage.parts.items(), key=lambda part: -part[1])[:_LARGEST]
    named = ", ".join(f"{name} {_gb(value)}" for name, value in largest)
    basis = f"counted from {size} ({named}; {stage.settings})"
    if machine is None:
        return CountedMemory(stage.parts, None, basis, _device_advice(kind, decoder, config, stage.total), {})
    does_fit = fits(stage.total, hardware.available)
    remedy = None if does_fit else find_remedy(kind, decoder, config, hardware)
    advice = _advice(hardware, does_fit, remedy, processes)
    if not does_fit and remedy is None:
        advice += " " + _device_advice(kind, decoder, config, stage.total)
    return CountedMemory(stage.parts, does_fit, basis, advice, remedy.changes if remedy else {})


def _hardware(machine: machine_speed.Machine | None, processes: int) -> Hardware:
    if machine is None:
        return Hardware()
    on_cpu = machine.device == "cpu"
    share = machine.available / (processes if on_cpu else 1)
    return Hardware(machine.device, 2 if machine.dtype == "bfloat16" else 4, share)


def _device_advice(kind: str, decoder: Decoder, config: Mapping[str, Any], total: float) -> str:
    size = smallest_device(total)
    if size is None:
        needs = "No single GPU has room for it."
    elif config.get("processes", 1) == 1:
        needs = f"It fits a GPU with {size} GB."
    else:
        needs = f"Each process needs a GPU with {size} GB."
    if size is not None and size <= _USUAL_GB:
        return needs
    usual = Hardware(available=_USUAL_GB * GB)
    options = {name: value for name, value in config.items() if name != ANSWERS}
    shares = find_shares(kind, decoder, config, usual, lambda changes: configs.is_valid(kind, {**options, **changes}))
    if shares is None:
        return needs
    split = f"Split over {shares.changes['processes']} GPUs with {_USUAL_GB} GB it fits"
    return f"{needs} {split}, with {_named(shares.changes)} ({_gb(shares.total)} of each)."


def _advice(hardware: Hardware, does_fit: bool, remedy: Remedy | None, processes: int) -> str:
    where = f"the {_gb(hardware.available)} of {'this GPU' if hardware.device == 'cuda' else 'free memory here'}"
    if processes > 1 and hardware.device == "cpu":
        where += " for each process"
    if does_fit:
        return f"It fits {where}."
    if remedy is None:
        return f"It does not fit {where}, whatever the options."
    return f"It does not fit {where}. It fits with {_named(remedy.changes)} ({_gb(remedy.total)})."


def _named(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in changes.items())


def _gb(value: float) -> str:
    return f"{value / 1e9:.2g} GB" if value < 99.5e9 else f"{value / 1e9:.0f} GB"
