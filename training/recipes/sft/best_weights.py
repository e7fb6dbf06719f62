"""Keep the weights at the step with the lowest held-out loss beside the checkpoints while SFT goes on.

`best/step-000010.safetensors` in the run directory holds the float32 masters at step 10. An older file goes once a
checkpoint points at a newer one: a run that is killed at any moment finds the file that its checkpoint names.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from common import atomic_files
from training.core.run_directory import RecipeFailure, RunDirectory
from training.recipes.common import sharded_checkpoints


def save(run: RunDirectory, step: int, masters: dict[str, torch.Tensor]) -> None:
    """Write the masters of this step under a temporary name, then rename."""
    final = file_of(run, step)
    final.parent.mkdir(exist_ok=True)
    with atomic_files.replacing(final, is_synced=False) as partial:
        save_file({name: master.detach().contiguous() for name, master in masters.items()}, partial)


@torch.no_grad()
def load(run: RunDirectory, step: int, masters: dict[str, torch.Tensor]) -> None:
    """Fill the masters with those of this step. Raises RecipeFailure where they are gone."""
    try:
        stored = load_file(file_of(run, step))
    except OSError as error:
        raise RecipeFailure(
            "best_weights_gone",
            f"The weights of step {step}, which had the lowest held-out loss, are not in {file_of(run, step)}.",
            "Start a new run, with keep=last if disk space is short.",
        ) from error
    for name, master in masters.items():
        master.copy_(sharded_checkpoints.spread(stored[name], master))


def forget_others(run: RunDirectory, step: int) -> None:
    """Remove what no checkpoint points at any more: every file but that of this step."""
    for path in file_of(run, step).parent.glob("*"):
        if path != file_of(run, step):
            path.unlink()


def file_of(run: RunDirectory, step: int) -> Path:
    return run.path / "best" / f"step-{step:06d}.safetensors"
