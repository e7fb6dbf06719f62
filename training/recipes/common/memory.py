"""Tell how much memory and disk a run may use here, describe a shortage, and name this machine."""

from __future__ import annotations

import contextlib
import ctypes
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import torch

from common.texts import percent
from training.core import batch_planner
from training.core.endings import DISK_FULL
from training.core.resource_estimate import ROOM, DoesNotFit
from training.core.run_directory import RecipeFailure, Row


def available_memory(processes: int = 1) -> float:
    """Return the bytes for one of so many processes: of its own GPU, or a share of what is free of the machine's
    memory."""
    if torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0])
    return min(float(psutil.virtual_memory().available), _container_limit()) / processes


def memory_around(model: Any, processes: int = 1) -> float:
    """Return `available_memory` of a plan that counts the weights of `model` itself: those that lie on a GPU already
    are not free."""
    held = sum(parameter.nbytes for parameter in model.parameters() if parameter.device.type == "cuda")
    return available_memory(processes) + held


def total_memory() -> float:
    """Return the bytes of the GPU, or of the machine: the same for each attempt at a run, however much is free."""
    if torch.cuda.is_available():
        return float(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
    return float(psutil.virtual_memory().total)


def rows_at_once(
    model: Any, device: torch.device, prompts: Sequence[Sequence[int]], max_new_tokens: int,
    cpu_cache: float = batch_planner.CPU_CACHE,
) -> int:  # fmt: skip
    """Return how many answers to these prompts (token ids) are drawn at once, so that memory does not grow with their
    number: on a processor their caches take `cpu_cache` bytes at most."""
    dtype_bytes = model.get_input_embeddings().weight.dtype.itemsize
    layers = model.config.num_hidden_layers
    return batch_planner.rows_at_once(
        batch_planner.shape_of(model.config, layers=layers, dtype_bytes=dtype_bytes, packed=False),
        length=max(map(len, prompts)) + max_new_tokens, memory=total_memory(), on_cpu=device.type == "cpu",
        cpu_cache=cpu_cache,
    )  # fmt: skip


def return_freed_memory() -> None:
    """Give the system back what malloc keeps of freed arrays (`training.recipes`): before something else needs it."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def machine_name(processes: int = 1) -> str:
    """Return what figures of speed are tied to: the GPU, or the cores that the processes of a run have together."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    if torch.backends.mps.is_available():
        return "Apple GPU"
    return f"{torch.get_num_threads() * processes} cores"


def does_not_fit(subject: str, error: DoesNotFit, changes: Row | None = None) -> RecipeFailure:
    """Return the failure; `changes` are options with which it would fit."""
    return RecipeFailure(
        "does_not_fit",
        f"{subject} needs about {error.needed / 1e9:.3g} GB, but of {error.available / 1e9:.3g} GB of free memory "
        f"here a run may use {percent(ROOM)}.",
        "Choose a smaller size, a shorter context_length or a smaller micro_batch_size, or a machine with more memory.",
        changes,
    )


def check_whole(model_bytes: float, processes: int) -> None:
    """Check that each process can hold the whole model, as one must that draws by a split one. Raises RecipeFailure."""
    available = available_memory(processes)
    if model_bytes > ROOM * available:
        raise RecipeFailure(
            "does_not_fit",
            f"To draw, each process gathers the whole policy: {model_bytes / 1e9:.3g} GB, but of {available / 1e9:.3g} "
            f"GB of free memory here a run may use {percent(ROOM)}. More processes do not change that.",
            f"Choose a smaller parent, devices with {model_bytes / ROOM / 1e9:.3g} GB each, or adapters lora, not "
            "full; or DPO, which draws nothing.",
        )


def check_disk(folder: Path, *, trained: int, model_bytes: int) -> None:
    """Check the room for three checkpoints of masters and moments, of which the oldest goes last, and the model. Raises
    RecipeFailure."""
    needed_bytes = trained * 12 * 3 + model_bytes
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise RecipeFailure(
            DISK_FULL[0],
            f"Checkpoints and model take about {needed_bytes / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free on the "
            "disk.",
            "Free disk space, then resume; or choose a smaller size.",
        )


def _container_limit() -> float:
    """Return what a control group leaves, where one is set: psutil sees the whole machine's memory."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return float("inf")
    return float("inf") if limit == "max" else max(int(limit) - used + int(stat.get("inactive_file", 0)), 0)
