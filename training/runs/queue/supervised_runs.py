"""What a worker knows of each run that it carries out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from annotate.core.logs import context
from training.core.endings import Ending
from training.models import Attempt, Run
from training.runs.launchers import Usage
from training.runs.launchers.host_memory import Watch
from training.runs.queue import supervision
from training.runs.queue.ingest import Reader
from training.runs.queue.outputs import Outputs
from training.runs.queue.run_transfers import RunTransfers


@dataclass(frozen=True)
class End:
    """How an attempt ended, and what it left when it ended well; its run is concluded once that is stored."""

    ending: Ending
    outputs: Outputs | None = None


@dataclass
class Supervised:
    """A run that this worker carries out."""

    attempt: Attempt
    run: Run
    reader: Reader | None = None
    handle: str = ""
    memory: Watch = field(default_factory=Watch.begin)
    renewed_at: float = field(default_factory=time.monotonic)
    is_lost: bool = False
    is_recorded: bool = False  # that it was launched, and from which checkpoint
    ending: threading.Thread | None = None  # the watchdog's
    heard_at: float = 0.0
    phase: str = ""  # what its launcher said last
    end: End | None = None
    waits_for: str = ""  # as its page has it: the storage
    transfers: RunTransfers = field(init=False)

    def __post_init__(self) -> None:
        self.transfers = RunTransfers(self.attempt)

    def note_usage(self, usage: Usage, *, is_last: bool) -> None:
        """Note what it has cost so far; not at every tick, which would be a write each time."""
        attempt = self.attempt
        has_grown = usage.cpu_seconds >= attempt.cpu_seconds + 5 or usage.memory_bytes > attempt.memory_bytes * 1.1
        if has_grown or is_last:
            attempt.cpu_seconds, attempt.memory_bytes = usage.cpu_seconds, usage.memory_bytes
            supervision.leased(attempt).update(cpu_seconds=usage.cpu_seconds, memory_bytes=usage.memory_bytes)


def log_fields(run: Run) -> dict[str, int]:
    """Return what a log line about a run has of it."""
    return {"run_id": run.pk, "project_id": run.project_id}


def about_its_run(method: Callable[[Any, Supervised], None]) -> Callable[[Any, Supervised], None]:
    """Let every line that the worker logs within the method say which run it is about."""

    @wraps(method)
    def work(worker: Any, one: Supervised) -> None:
        with context.bound(**log_fields(one.run)):
            method(worker, one)

    return work
