"""What this machine was measured to do, for estimates: measured once, in a process of its own, and kept as a file."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
from django.conf import settings


@dataclass(frozen=True)
class Machine:
    """`flops` a second of matrix products in `dtype`, and the share of them that training steps reach, by width.

    `memory` is the GPU's, None on a processor.
    """

    device: str
    name: str
    dtype: str
    flops: float
    reached: list[tuple[int, float]]
    memory: float | None

    @property
    def available(self) -> float:
        """Bytes that a run beginning now could have."""
        return self.memory if self.memory is not None else float(psutil.virtual_memory().available)


def path() -> Path:
    """By machine: several may share the data folder."""
    return settings.DATA_DIR / "machines" / f"{os.uname().nodename}-{os.cpu_count()}.json"


def measured() -> Machine | None:
    """None while it is not known; `begin_measuring` sees to it."""
    try:
        return Machine(**json.loads(path().read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def begin_measuring() -> None:
    """Start the measurement, some ten seconds, unless one is under way. Returns at once."""
    path().parent.mkdir(parents=True, exist_ok=True)
    with path().with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        subprocess.Popen(
            [sys.executable, "-m", "training.recipes.machine", str(path())],
            cwd=settings.BASE_DIR,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[lock.fileno()],  # held as long as it measures
        )
