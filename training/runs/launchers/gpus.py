"""Each process of a recipe gets one GPU for itself: a lock per GPU, inherited by the recipe, free when it is gone."""

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
        """Let go of our copy; the recipe keeps its own."""
        for file in self.files:
            file.close()


def lease(folder: Path, count: int = 1) -> Lease:
    """`count` free GPUs; an empty lease where there are none. Raises Busy while too few are free, and takes none."""
    found = names()
    if not found:
        return Lease()
    folder.mkdir(parents=True, exist_ok=True)
    taken = Lease()
    held: list[str] = []
    for name in found:
        if len(held) == count:
            break
        file = (folder / f"{name}.lock").open("w")
        if not try_lock(file):
            file.close()
            continue
        taken.files.append(file)
        held.append(name)
    if len(held) < count:
        with taken:  # let go of those: another run may need just one
            raise Busy("every GPU is taken" if count == 1 else f"{len(held)} of {count} GPUs are free")
    taken.environment["CUDA_VISIBLE_DEVICES"] = ",".join(held)
    return taken


@functools.cache
def names() -> tuple[str, ...]:
    """Return the GPUs this worker may hand out: those of CUDA_VISIBLE_DEVICES, or all that nvidia-smi lists."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return tuple(name.strip() for name in given.split(",") if name.strip() not in ("", "-1"))
    if shutil.which("nvidia-smi") is None:
        return ()
    listing = subprocess.run(
        ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return tuple(listing.stdout.split()) if listing.returncode == 0 else ()
