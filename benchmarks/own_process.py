"""Work of benchmarks in a process of its own: a recipe on its run directory, a contestant on its work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from training.core.run_directory import Row, RunDirectory


def environment_with(**more: str) -> dict[str, str]:
    """Return the variables of a contestant, ours or a peer: memory on huge pages, as runs of the site have it."""
    from training.runs.launchers.recipe_process import HUGE_PAGES  # which an older checkout has not, nor needs

    return {"GLIBC_TUNABLES": HUGE_PAGES, **os.environ, **more}


def run_module(module: str, path: Path, log: Path | None = None, **environment: str) -> int:
    """Return the exit status of `python -m MODULE PATH`; what it prints goes to the log, without one nowhere."""
    with (log or Path(os.devnull)).open("w", encoding="utf-8") as output:
        return subprocess.run(
            [sys.executable, "-m", module, str(path)], env=environment_with(**environment), stdout=output, stderr=output
        ).returncode


def carry_out(run: RunDirectory, kind: str) -> Row:
    """Carry out a run that is laid, by its recipe, and return its result. Exits in words where it fails."""
    log = run.path / "printed.txt"
    status = run_module(f"training.recipes.{kind}", run.path, log, HF_HUB_OFFLINE="1", OMP_WAIT_POLICY="passive")
    if status or (result := run.result()) is None:
        failure = run.path / "failure.json"
        raise SystemExit(f"{run.path}: {(failure if failure.is_file() else log).read_text(encoding='utf-8')[-3000:]}")
    return result
