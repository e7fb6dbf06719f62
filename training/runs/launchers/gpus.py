"""Give each process of a recipe a GPU of its own: a lock per GPU, inherited by the recipe, free when it is gone."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from common.file_lock import try_lock
from training.runs.launchers import Busy


@dataclass
class Lease:
    files: list[IO[str]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def descriptors(self) -> list[int]:
        return [file.fileno() for file in self.files]

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        """Close our copy of the locks; the recipe keeps its own."""
        for file in self.files:
            file.close()


def lease(folder: Path, count: int = 1) -> Lease:
    """Return `count` free GPUs; an empty lease where there are none. Raises Busy, and takes none, while too few are
    free."""
    gpu_names = names()
    if not gpu_names:
        return Lease()
    folder.mkdir(parents=True, exist_ok=True)
    lease_ = Lease()
    locked: list[str] = []
    for name in gpu_names:
        if len(locked) == count:
            break
        file = (folder / f"{name}.lock").open("w")
        if not try_lock(file):
            file.close()
            continue
        lease_.files.append(file)
        locked.append(name)
    if len(locked) < count:
        with lease_:  # let go of those: another run may need just one
            raise Busy("all GPUs are in use" if count == 1 else f"{len(locked)} of {count} GPUs are free")
    lease_.environment["CUDA_VISIBLE_DEVICES"] = ",".join(locked)
    return lease_


def names() -> tuple[str, ...]:
    """Return the GPUs this worker may hand out: those of CUDA_VISIBLE_DEVICES, or all that nvidia-smi lists.

    Where that fails, as before the driver has loaded at the machine's start, there are none for now."""
    try:
        return _names()
    except subprocess.CalledProcessError:
        return ()


@functools.cache
def _names() -> tuple[str, ...]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(name.strip() for name in visible.split(",") if name.strip() not in ("", "-1"))
    if shutil.which("nvidia-smi") is None:
        return ()
    listing = subprocess.run(
        ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, check=True
    )
    return tuple(listing.stdout.split())
