"""A recipe that fails as the libraries below a real one do: by their own errors, provoked and not made up."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy
import psutil
import torch
from safetensors.torch import save_file

from training.core.run_directory import RunDirectory, RunSpec
from training.recipes.common.entry import run_recipe

_MORE = 2**28


def main(run: RunDirectory, spec: RunSpec) -> None:
    if spec.kind in ("torch", "numpy"):
        limit = psutil.Process().memory_info().vms + _MORE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        torch.ones(_MORE) if spec.kind == "torch" else numpy.ones(_MORE)
    elif spec.kind == "weights on a full disk":
        place = run.path / "weights.safetensors"
        place.symlink_to("/dev/full")
        torch.save({"w": torch.ones(2**20)}, Path("/dev/full"))
        save_file({"w": torch.ones(2**20)}, place)
    else:
        torch.nn.Embedding(8, 4)(torch.tensor([8]))


if __name__ == "__main__":
    run_recipe(main)
