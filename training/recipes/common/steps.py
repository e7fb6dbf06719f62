"""Do what every training loop does at every optimiser step: learning rate, clip, pace, and exact resume.

The loops themselves stay in their recipes, where they can be read from top to bottom.
"""

from __future__ import annotations

import codecs
import math
import pickle
import random
import resource
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor

from common.texts import first_line
from training.core.run_directory import RecipeFailure, RunDirectory
from training.recipes.common import processes, sharded_checkpoints, sharding
from training.recipes.common.processes import Processes

_WEIGHTS = "weights.safetensors"
SCHEDULES = ("constant", "linear", "cosine", "wsd")


@dataclass(frozen=True)
class Order:
    """Say which of `count` examples each step takes: each epoch takes all in an order of its own, by the seed."""

    count: int
    seed: int
    batch_size: int
    epochs: float

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.count / self.batch_size)

    @property
    def total_steps(self) -> int:
        return max(math.ceil(self.steps_per_epoch * self.epochs), 1)

    def batch(self, step: int) -> np.ndarray:
        epoch, place = divmod(step, self.steps_per_epoch)
        return self._of_epoch(epoch)[place * self.batch_size : (place + 1) * self.batch_size]

    def taken(self) -> np.ndarray:
        """Return the examples that the run learns from; of less than an epoch not all."""
        return self._of_epoch(0)[: self.total_steps * self.batch_size]

    def _of_epoch(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch]).permutation(self.count)


def schedule_factor(step: int, total: int, *, kind: str, warmup: int, decay: int = 0, floor: float = 0.0) -> float:
    """Return the share of the peak learning rate at `step`, counted from 0.

    Linear warm-up over `warmup` steps, then: constant; linear or cosine down to `floor` at `total`; or WSD
    (warm-up, stable, decay; Hu 2024, 2404.06395): constant, then linear to `floor` over the last `decay` steps.
    """
    if step < warmup:
        return (step + 1) / warmup
    if kind == "constant":
        return 1.0
    if kind == "wsd":
        left = (total - step) / max(decay, 1)
        return floor + (1 - floor) * min(left, 1.0)
    done = (step - warmup) / max(total - warmup, 1)
    if kind == "linear":
        return floor + (1 - floor) * (1 - done)
    if kind == "cosine":
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))
    raise ValueError(f"{kind!r} is not one of {', '.join(SCHEDULES)}.")


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate


def clip_gradients(parameters: Iterable[torch.Tensor], max_norm: float, *, loss: float, step: int) -> float:
    """Return the gradient norm before it was clipped. Raises RecipeFailure when it or the loss is not finite."""
    learning = list(parameters)
    if any(isinstance(parameter, DTensor) for parameter in learning):
        norm = _clip_shares([parameter.grad for parameter in learning if parameter.grad is not None], max_norm)
    else:
        norm = float(torch.nn.utils.clip_grad_norm_(learning, max_norm))
    if not (math.isfinite(norm) and math.isfinite(loss)):
        raise RecipeFailure(
            "not_finite",
            f"The loss was {loss} and the gradient norm {norm} at step {step}: training diverged.",
            "Queue it again with a lower learning_rate.",
        )
    return norm


@torch.no_grad()
def _clip_shares(gradients: list[torch.Tensor], max_norm: float) -> float:
    """Clip gradients of which each process holds its share, and return their norm; all take part."""
    norm = sharding.norm_of(gradients)
    factor = float((max_norm / (norm + 1e-6)).clamp(max=1.0))  # as torch's own clipping has it
    for gradient in gradients:
        sharding.local(gradient).mul_(factor)
    return float(norm)


class Pace:
    """Tokens a second, measured over the last few steps, so that the first minute's compilation is soon forgotten."""

    def __init__(self, window: int = 20) -> None:
        self.window = window
        self.marks: list[tuple[float, int]] = [(time.monotonic(), 0)]

    def tokens_per_second(self, tokens: int) -> float:
        """Count `tokens` more as done."""
        self.marks = [*self.marks, (time.monotonic(), self.marks[-1][1] + tokens)][-self.window - 1 :]
        (start, before), (now, after) = self.marks[0], self.marks[-1]
        return (after - before) / max(now - start, 1e-9)


def peak_memory_gb(device: torch.device) -> float:
    """Return the most that this process has held: of the GPU's memory where there is one, else resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    if device.type == "mps":  # which counts no peak: what is held now, beside the process's own
        return torch.mps.driver_allocated_memory() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def save_checkpoint(
    run: RunDirectory,
    together: Processes,
    step: int,
    *,
    parameters: dict[str, torch.Tensor],
    optimiser: torch.optim.Optimizer,
    extra: dict[str, Any],
    texts: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write the checkpoint of a step, by the first process alone, or by all where each holds a share; with `texts` as
    files by their names."""
    if not together.is_sharded:
        if together.is_first:
            folder = run.begin_checkpoint(step)
            save_state(folder, parameters=parameters, optimiser=optimiser, extra=extra)
            _commit(run, step, folder, texts)
        return
    folder = together.from_leader(lambda: run.begin_checkpoint(step))
    sharded_checkpoints.save(folder, parameters, optimiser)
    together.wait()
    processes.collect_files(together, folder)
    if together.is_first:
        _save_rest(folder, None, extra)
        _commit(run, step, folder, texts)


def checkpoint_to_resume(run: RunDirectory, together: Processes) -> Path | None:
    """Return the latest checkpoint, once all processes have looked for it: nobody writes one before. Raises
    RecipeFailure where they found different ones."""
    latest = run.latest_checkpoint()
    found = together.gathered([latest.name if latest else "none"])
    if len(set(found)) > 1:
        raise RecipeFailure(
            "checkpoints_differ",
            f"The nodes of this run have different checkpoints: {', '.join(sorted(set(found)))}.",
            "Resume it: each node then brings the stored one again.",
        )
    return latest


def _commit(run: RunDirectory, step: int, folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    run.commit_checkpoint(step)


def save_state(
    folder: Path,
    *,
    parameters: dict[str, torch.Tensor],
    optimiser: torch.optim.Optimizer,
    extra: dict[str, Any] | None = None,
) -> None:
    """Save all that a later process needs to take the same next step: weights, optimiser, generators, and `extra`."""
    save_file({name: tensor.detach().contiguous() for name, tensor in parameters.items()}, folder / _WEIGHTS)
    _save_rest(folder, optimiser, extra or {})


def load_state(
    folder: Path, *, parameters: dict[str, torch.Tensor], optimiser: torch.optim.Optimizer
) -> dict[str, Any]:
    """Fill weights, optimiser and generators from a checkpoint of this very run; return its `extra`.

    Whatever number of processes has written it, and whatever number reads it.
    """
    state = _read_state(folder / "state.pt")
    if sharded_checkpoints.holds_shares(folder):
        sharded_checkpoints.load(folder, parameters, optimiser)
    else:
        _load_whole(folder, parameters)
        sharded_checkpoints.load_moments(state["optimiser"], parameters, optimiser)
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"][: torch.cuda.device_count()])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.asarray(keys, dtype=np.uint32), *rest))
    random.setstate(state["python"])
    return state["extra"]


@torch.no_grad()
def _load_whole(folder: Path, parameters: dict[str, torch.Tensor]) -> None:
    """Fill weights from what one process has saved."""
    stored = load_file(folder / _WEIGHTS)
    if stored.keys() != parameters.keys():
        raise sharded_checkpoints.mismatch(folder)
    for name, tensor in parameters.items():
        tensor.copy_(sharded_checkpoints.spread(stored[name], tensor))


def _save_rest(folder: Path, optimiser: torch.optim.Optimizer | None, extra: dict[str, Any]) -> None:
    """Save what is no weight; without an `optimiser` where its moments lie in shares beside it."""
    torch.save(
        {
            "optimiser": optimiser.state_dict() if optimiser is not None else None,
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": _plain_numpy_state(),
            "python": random.getstate(),
            "extra": extra,
        },
        folder / "state.pt",
    )


def _plain_numpy_state() -> list[Any]:
    """Return numpy's generator as plain numbers, which a checkpoint holds without being code."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return [name, np.asarray(keys).tolist(), *rest]


def _read_state(path: Path) -> Any:
    """Return what `save_state` wrote, on the CPU: each part is moved to its owner. Runs nothing that is in the file."""
    # Checkpoints of versions before this one hold numpy's state as the array that it is.
    rebuild: Any = np.zeros(0).__reduce__()[0]  # numpy's own, under whatever name this version has it
    array_types: list[Any] = [np.ndarray, np.dtype, type(np.dtype(np.uint32)), rebuild, codecs.encode]
    try:
        with torch.serialization.safe_globals(array_types):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError) as error:
        raise RecipeFailure(
            "checkpoint_unreadable",
            f"The checkpoint in {path.parent.name} cannot be read: {first_line(error)}",
            "Delete that checkpoint's folder and resume: the run continues from the one before it, or from the start.",
        ) from error
