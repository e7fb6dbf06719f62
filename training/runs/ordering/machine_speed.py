"""Measure this machine for estimates: once, by its worker, in a process of its own, kept as a file that pages only
read."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from django.conf import settings

from annotate.models import LanguageModel
from common.file_lock import try_lock
from training.core.processor_share import be_nice

IDLE_SECONDS = 60.0  # a run beside the measurement would be slowed, and would slow what is measured
log = logging.getLogger("assay.worker")


@dataclass(frozen=True)
class Machine:
    """Hold what this machine can do: `flops` a second of matrix products in `dtype`, and the share of them that
    training steps reach, by width.

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
        """Return the bytes that a run beginning now could have."""
        return self.memory if self.memory is not None else float(psutil.virtual_memory().available)


def path() -> Path:
    """Return the file's path, by machine: several may share the data folder."""
    return settings.DATA_DIR / "machines" / f"{os.uname().nodename}-{os.cpu_count()}.json"


def measured() -> Machine | None:
    """Return the measurement; None while there is none: a worker on this machine makes it."""
    try:
        return Machine(**json.loads(path().read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def begin_measuring() -> None:
    """Start the measurement, some ten seconds, unless one is under way. Returns at once."""
    path().parent.mkdir(parents=True, exist_ok=True)
    with path().with_suffix(".lock").open("w") as lock:
        if not try_lock(lock):
            return
        process = subprocess.Popen(
            [sys.executable, "-m", "training.recipes.machine", str(path())],
            cwd=settings.BASE_DIR,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[lock.fileno()],  # held as long as it measures
        )
    be_nice(process.pid, settings.RECIPE_NICE)  # as a recipe is


class IdleMeasurement:
    """Measure this machine once its worker has been idle for a minute, and somebody could pretrain."""

    def __init__(self) -> None:
        self._idle_since = time.monotonic()
        self._is_tried = False

    def note(self, *, is_idle: bool) -> None:
        """Note whether the worker is idle, at each of its rounds. It measures once in its life: what failed would fail
        again."""
        now = time.monotonic()
        if not is_idle:
            self._idle_since = now
        elif not self._is_tried and now >= self._idle_since + IDLE_SECONDS:
            self._idle_since = now  # the next look in a minute
            self._measure_if_wanted()

    def _measure_if_wanted(self) -> None:
        if measured() is not None:
            self._is_tried = True
        elif LanguageModel.objects.filter(kind=LanguageModel.Kind.TOKENIZER).exists():
            self._is_tried = True
            try:
                begin_measuring()
            except OSError as error:  # no estimates then; the worker's runs matter more
                log.warning("The speed of this machine could not be measured: %s", error)
