"""Recipes in processes of their own that are killed with signal 9 in mid-work and started again.

The processes are forked: each start then takes a fraction of a second. Kills land by what a recipe writes, not by the
clock: on a busy machine, too, each of them meets it at work.
"""

from __future__ import annotations

import importlib
import importlib.util
import random
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.support.fork_servers import forked
from training.core.run_directory import RunDirectory
from training.runs.launchers.forked_process import ForkedProcess


@dataclass(frozen=True)
class Ended:
    run: RunDirectory
    writes: tuple[str, ...]  # what the last start wrote in the run directory, in order
    kills: int = 0


def undisturbed(module: str, run: RunDirectory) -> Ended:
    assert start(module, run).wait(240) == 0, _why(run)
    return Ended(run, tuple(_writes_of(run).read_text(encoding="utf-8").splitlines()))


def killed(module: str, run: RunDirectory, *, whole: Ended, seed: int) -> Ended:
    """Kill it twice just before a write, then let it come to its end: within the first part, and, once it has gone on,
    where the end nears. `whole` is what the same run did when nobody killed it."""
    draw, kills = random.Random(seed), 0
    early = str(1 + int(draw.uniform(0.1, 0.5) * len(whole.writes)))
    for write in (early, draw.choice(_last_of(whole.writes))):
        code = start(module, run, write).wait(240)
        assert code in (0, -signal.SIGKILL), _why(run)
        kills += code != 0
    return replace(undisturbed(module, run), kills=kills)


def _last_of(writes: Sequence[str]) -> list[str]:
    """Return the names that are written in the last quarter alone."""
    border = len(writes) * 3 // 4
    return [name for name in writes[border:] if name not in writes[:border]]


def _writes_of(run: RunDirectory) -> Path:
    return run.path.with_name(f"{run.path.name}-writes")


def copy(run: RunDirectory, place: Path) -> RunDirectory:
    shutil.copytree(run.path, place)
    return RunDirectory(place)


def start(module: str, run: RunDirectory, last: str = "") -> ForkedProcess:
    """Start the recipe in a process of its own, which ends just before its write `last`: see `counted_writes`."""
    with (run.path / "log.txt").open("ab") as log:
        return forked("tests.support.training.counted_writes", str(run.path), module, last, log=log)


def main_of(module: str) -> Any:
    """Return `main` of a recipe as `python -m` would find it: in a module, or in the `__main__` of a folder."""
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"There is no recipe {module}."
    is_folder = spec.submodule_search_locations is not None
    return importlib.import_module(f"{module}.__main__" if is_folder else module).main


def _why(run: RunDirectory) -> str:
    log = run.path / "log.txt"
    return f"{run.failure()}\n{log.read_text()[-3000:] if log.exists() else ''}"
