"""Start a recipe as several processes: what `accelerate launch` gets, in a file of the run directory that one can read.

A recipe takes part by a field `processes` in its config and by `training.recipes.common.processes`. One process is
started as ever, with none of this.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from training.core.processor_share import usable_cores
from training.core.run_directory import RecipeFailure, RunDirectory

CONFIG_NAME = "accelerate.yaml"


def processes_of(directory: Path) -> int:
    """Return how many processes the run's config asks for."""
    return _count_in(directory, "processes") or 1


def actors_of(directory: Path) -> int:
    """Return how many processes the recipe itself starts beside it, by the run's config."""
    return _count_in(directory, "actors")


def _count_in(directory: Path, option: str) -> int:
    try:
        return int(RunDirectory(directory).spec().config.get(option) or 0)
    except FileNotFoundError:  # nothing but a folder, as a recipe's own tests may use it
        return 0


def command(directory: Path, module: str, count: int) -> list[str]:
    """Return the command line that starts the recipe. Writes the file for `accelerate launch` where it takes
    several."""
    if count == 1:
        return [sys.executable, "-m", module, str(directory)]
    path = directory / CONFIG_NAME
    path.write_text("".join(f"{name}: {json.dumps(value)}\n" for name, value in _config(count).items()))
    return [sys.executable, "-m", "training.recipes.common.distributed", str(path), module, str(directory)]


def threads_each(count: int) -> int:
    return max(usable_cores() // count, 1)


def check_gpus(count: int, available: int) -> None:
    """Check that there is a GPU for each process, else some would wait for ever. Raises RecipeFailure."""
    if available and count > available:
        raise RecipeFailure(
            "too_few_gpus",
            f"The run needs {count} processes with one GPU each, and this worker has {available} GPUs.",
            f"Queue it again with processes at most {available}.",
            {"processes": available},
        )


def _config(count: int) -> dict[str, object]:
    """Return the config of one group on this machine at a free port.

    MULTI_GPU starts processes as they are wanted without GPUs too: the recipe then joins them by gloo, where MULTI_CPU
    would want an MPI installed.
    """
    return {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "MULTI_GPU",
        "num_machines": 1,
        "num_processes": count,
        "machine_rank": 0,
        "main_process_port": 0,
        "rdzv_backend": "static",
        "same_network": True,
        "gpu_ids": "all",
        "mixed_precision": "no",  # the recipe's own affair
        "use_cpu": False,
    }
