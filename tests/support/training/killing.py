"""Recipes in processes of their own that are killed with signal 9 in mid-work and started again.

The processes are forked from a server that has imported torch once: each start then takes a fraction of a second.
"""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.core.run_directory import RunDirectory

_fork = multiprocessing.get_context("forkserver")
_PRELOADED = ["torch", "transformers", "trl", "peft", "datasets", "training.recipes.ppo", "training.recipes.dpo"]


@dataclass(frozen=True)
class Ended:
    run: RunDirectory
    seconds: float
    kills: int  # how many of the signals met a process at work


def undisturbed(module: str, run: RunDirectory) -> Ended:
    begun = time.monotonic()
    process = start(module, run)
    process.join(240)
    assert process.exitcode == 0, _why(run)
    return Ended(run, time.monotonic() - begun, 0)


def killed(module: str, run: RunDirectory, *, times: int, within: float, seed: int) -> Ended:
    """`times` kills at random moments of the first `within` seconds after each start, then to the end."""
    draw, begun, kills = random.Random(seed), time.monotonic(), 0
    for _ in range(times):
        process = start(module, run)
        process.join(draw.uniform(0.15, 0.9) * within)
        if process.is_alive():
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.join(60)
        assert process.exitcode in (0, -signal.SIGKILL), _why(run)
    return Ended(undisturbed(module, run).run, time.monotonic() - begun, kills)


def copy(run: RunDirectory, place: Path) -> RunDirectory:
    shutil.copytree(run.path, place)
    return RunDirectory(place)


def start(module: str, run: RunDirectory) -> multiprocessing.process.BaseProcess:
    """Start the recipe in a process of its own."""
    _fork.set_forkserver_preload(_PRELOADED)
    process = _fork.Process(target=_carry_out, args=(module, str(run.path)))
    process.start()
    return process


def _carry_out(module: str, folder: str) -> None:
    import torch

    from training.recipes.common.entry import attempt

    log = (Path(folder) / "log.txt").open("a")
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    torch.set_num_threads(1)  # a tiny model's products are too small to share between threads
    sys.exit(attempt(main_of(module), RunDirectory(folder)))


def main_of(module: str) -> Any:
    """Return `main` of a recipe as `python -m` would find it: in a module, or in the `__main__` of a folder."""
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"There is no recipe {module}."
    is_folder = spec.submodule_search_locations is not None
    return importlib.import_module(f"{module}.__main__" if is_folder else module).main


def _why(run: RunDirectory) -> str:
    log = run.path / "log.txt"
    return f"{run.failure()}\n{log.read_text()[-3000:] if log.exists() else ''}"
