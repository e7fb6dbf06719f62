"""Start a recipe as several processes: what `accelerate launch` gets, in a file of the run directory that one can read.

A recipe takes part by a field `processes` in its config and by `training.recipes.common.processes`. One process is
started as ever, with none of this.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from training.core.processor_share import usable_cores
from training.core.run_directory import RecipeFailure, RunDirectory

CONFIG_NAME = "accelerate.yaml"
KINDS_WITHOUT_SHARING = ("pretrain", "sft")  # that can be over such nodes


def processes_of(directory: Path) -> int:
    """Return how many processes the run's config asks for."""
    return _count_in(directory, "processes") or 1


def nodes_of(directory: Path) -> int:
    """Return over how many nodes of a cluster the run's config spreads its processes."""
    return _count_in(directory, "nodes") or 1


@dataclass(frozen=True)
class Member:
    """One node's part of a run over several. All meet at the address and port of the first, whose rank is 0."""

    rank: int
    nodes: int
    own_address: str
    address: str
    port: int


def actors_of(directory: Path) -> int:
    """Return how many processes the recipe itself starts beside it, by the run's config."""
    return _count_in(directory, "actors")


def _count_in(directory: Path, option: str) -> int:
    try:
        return int(RunDirectory(directory).spec().config.get(option) or 0)
    except FileNotFoundError:  # nothing but a folder, as a recipe's own tests may use it
        return 0


def command(
    directory: Path, module: str, count: int, member: Member | None = None, folder: Path | None = None
) -> list[str]:
    """Return the command line that starts the recipe, or a member's part of its `count` processes. Writes the file for
    `accelerate launch` where it takes several, into the `folder` (default: the run directory)."""
    if count == 1:
        return [sys.executable, "-m", module, str(directory)]
    path = (folder or directory) / CONFIG_NAME
    config = _config(count) | (_meeting(member) if member else {})
    path.write_text("".join(f"{name}: {json.dumps(value)}\n" for name, value in config.items()))
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


def check_nodes(directory: Path) -> None:
    """Check that a run which is started on this machine asks for no other. Raises RecipeFailure."""
    if (nodes := nodes_of(directory)) > 1:
        raise RecipeFailure(
            "no_cluster",
            f"The run asks for {nodes} nodes of a cluster, and this worker starts runs on its own machine.",
            "Queue it again with nodes 1, or have the operator set RAY_ADDRESS.",
            {"nodes": 1},
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


def _meeting(member: Member) -> dict[str, object]:
    """Return what a group of several machines needs beside that: who this one is, and where all meet."""
    return {
        "num_machines": member.nodes,
        "machine_rank": member.rank,
        "main_process_ip": member.address,
        "main_process_port": member.port,
    }
