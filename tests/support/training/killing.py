"""Recipes in processes of their own that are killed with signal 9 in mid-work and started again.

The processes are forked: each start then takes a fraction of a second.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import random
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.fork_servers import forked
from training.core.run_directory import RunDirectory
from training.runs.launchers.forked_process import ForkedProcess


@dataclass(frozen=True)
class Ended:
    run: RunDirectory
    seconds: float
    kills: int  # how many of the signals met a process at work


def undisturbed(module: str, run: RunDirectory) -> Ended:
    begun = time.monotonic()
    code = start(module, run).wait(240)
    assert code == 0, _why(run)
    return Ended(run, time.monotonic() - begun, 0)


def killed(module: str, run: RunDirectory, *, times: int, within: float, seed: int) -> Ended:
    """`times` kills at random moments of the first `within` seconds after each start, then to the end."""
    draw, begun, kills = random.Random(seed), time.monotonic(), 0
    for _ in range(times):
        process = start(module, run)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(draw.uniform(0.15, 0.9) * within)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        assert process.wait(60) in (0, -signal.SIGKILL), _why(run)
    return Ended(undisturbed(module, run).run, time.monotonic() - begun, kills)


def copy(run: RunDirectory, place: Path) -> RunDirectory:
    shutil.copytree(run.path, place)
    return RunDirectory(place)


def start(module: str, run: RunDirectory) -> ForkedProcess:
    """Start the recipe in a process of its own."""
    with (run.path / "log.txt").open("ab") as log:
        return forked(module, str(run.path), log=log)


def main_of(module: str) -> Any:
    """Return `main` of a recipe as `python -m` would find it: in a module, or in the `__main__` of a folder."""
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"There is no recipe {module}."
    is_folder = spec.submodule_search_locations is not None
    return importlib.import_module(f"{module}.__main__" if is_folder else module).main


def _why(run: RunDirectory) -> str:
    log = run.path / "log.txt"
    return f"{run.failure()}\n{log.read_text()[-3000:] if log.exists() else ''}"
