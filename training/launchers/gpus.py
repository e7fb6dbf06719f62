"""Each recipe gets one GPU for itself: a lock per GPU, inherited by the recipe, free when it is gone."""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from training.launchers import Busy


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
        """Let go of our copy; the recipe keeps its own."""
        for file in self.files:
            file.close()


def lease(folder: Path) -> Lease:
    """A free GPU; an empty lease where there are none. Raises Busy when all are taken."""
    found = names()
    if not found:
        return Lease()
    folder.mkdir(parents=True, exist_ok=True)
    for name in found:
        file = (folder / f"{name}.lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        return Lease([file], {"CUDA_VISIBLE_DEVICES": name})
    raise Busy("every GPU is taken")


@functools.cache
def names() -> tuple[str, ...]:
    """The GPUs this worker may hand out: those of CUDA_VISIBLE_DEVICES, or all that nvidia-smi lists."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return tuple(name.strip() for name in given.split(",") if name.strip() not in ("", "-1"))
    if shutil.which("nvidia-smi") is None:
        return ()
    listing = subprocess.run(
        ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return tuple(listing.stdout.split()) if listing.returncode == 0 else ()
