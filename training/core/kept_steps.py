"""Models of single steps on a run's way: which steps, and where they lie. Pure.

    kept/step-000040/   the model of step 40, complete when it has that name

Each is written before the checkpoint of its step: a run that goes on from a checkpoint has all that came before it.
"""

from __future__ import annotations

from pathlib import Path

from common import atomic_files
from training.core.run_directory import Row, RunDirectory, folders_of_steps

FOLDER = "kept"


def steps_to_keep(count: int, total: int) -> list[int]:
    """Return at most `count` steps, evenly spaced between the start and the last step, which is the result's own."""
    return sorted({step for i in range(1, count + 1) if 0 < (step := round(i * total / (count + 1))) < total})


def model_of(run: RunDirectory, step: int) -> Path:
    return run.path / FOLDER / f"step-{step:06d}"


def models(run: RunDirectory) -> list[Path]:
    """List the complete models of steps, in the order of the steps."""
    return folders_of_steps(run.path / FOLDER)


def named(run: RunDirectory, result: Row) -> dict[Path, Row]:
    """Return what a run's result says of each, by its folder."""
    return {model_of(run, row["step"]): row for row in result.get("kept_checkpoints") or []}


def begin(run: RunDirectory, step: int) -> Path:
    """Return an empty folder beside the place of a step's model; `commit` gives it its name."""
    return atomic_files.begin_folder(model_of(run, step))


def commit(run: RunDirectory, step: int) -> Path:
    """Give a step's model its name, in place of what an earlier attempt left."""
    return atomic_files.commit_folder(model_of(run, step))
