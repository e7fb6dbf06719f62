"""Explain how an attempt ended, for programs and for people: what happened, what was kept, and what to do.

Pure: it reads a run directory and an exit status.
"""

from __future__ import annotations

import errno
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.core.run_directory import RunDirectory, is_step_line

SUCCEEDED, FAILED, LOST, CANCELLED, PAUSED = "succeeded", "failed", "lost", "cancelled", "paused"

# Ends that say nothing about the run: a person, a reboot or the kernel ended the process from outside.
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT}
# The exit status of a recipe that failed and could not write failure.json: the disk is full.
NO_ROOM_FOR_WORDS = errno.ENOSPC
LAST_WORDS = " Its last words:"  # from here on a reason quotes the log
_KEPT = "Resume the run: it continues from its last complete checkpoint."
OUT_OF_MEMORY = "out_of_memory"
DISK_FULL = ("disk_full", "The disk is full.", "Free disk space, then resume; the checkpoints are kept.")
NO_MEMORY = (
    OUT_OF_MEMORY,
    "The machine does not have enough memory for this run.",
    "Queue it again with changes: half the batch_size, shorter sequences, or adapters instead of all weights.",
)
# What C++ and the allocators below it say before they abort the process.
_SAID_WITHOUT_MEMORY = ("std::bad_alloc", "out of memory", "Cannot allocate memory")


@dataclass(frozen=True)
class Ending:
    """Say how an attempt ended. `state` is the attempt's; the run's too, unless `retry` sends it back into the
    queue."""

    state: str
    code: str = ""
    reason: str = ""
    remedy: str = ""
    exit_code: int | None = None
    retry: bool = False
    remedy_changes: dict[str, Any] = field(default_factory=dict)
    pause: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def paused(cls, pause: dict[str, Any]) -> Ending:
        """Return the ending of a recipe that waits for a person: `pause` is what it wrote, with the choices."""
        return cls(PAUSED, pause["code"], pause["message"], pause["remedy"], 0, pause=pause)

    @classmethod
    def starved(cls, memory: str, limit: str, exit_code: int | None = None) -> Ending:
        """Return the ending of a recipe killed by the system for want of memory. Others may have taken it: it is tried
        once more."""
        reason = f"the system killed the recipe because memory ran out: it used {memory or 'a part'} of {limit}"
        return cls(LOST, OUT_OF_MEMORY, reason, "", exit_code, retry=True)

    @classmethod
    def lost(cls, reason: str, exit_code: int | None = None) -> Ending:
        return cls(LOST, "lost", reason, "", exit_code, retry=True)

    @classmethod
    def cancelled(cls, exit_code: int | None = None) -> Ending:
        return cls(CANCELLED, "cancelled", "Cancelled; its checkpoints are kept.", _KEPT, exit_code)

    @classmethod
    def shut_down(cls) -> Ending:
        """Return the ending of a run whose worker was asked to end. That is no fault of the run and counts against
        nothing."""
        return cls(CANCELLED, "shut_down", "the worker was shut down", "", None, retry=True)

    @classmethod
    def not_started(cls, reason: str) -> Ending:
        """Return the ending of an attempt that never began, for want of room: it counts against nothing."""
        return cls(CANCELLED, "not_started", f"it never began: {reason}", "", None, retry=True)

    @classmethod
    def given_up(cls, last: Ending, attempts: int) -> Ending:
        reason = f"The run failed after {attempts} attempts in a row without progress. The last one: {last.reason}."
        if last.code == OUT_OF_MEMORY:
            remedy = "Queue the run again with a smaller batch_size or shorter sequences; its last checkpoint is kept."
            return cls(FAILED, OUT_OF_MEMORY, reason, remedy, last.exit_code)
        remedy = (
            "If the machine is short of memory, queue the run again with a smaller batch_size or shorter sequences; "
            "otherwise check the log and the machine, then resume: the run continues from its last complete checkpoint."
        )
        return cls(FAILED, "lost_too_often", reason, remedy, last.exit_code)

    @classmethod
    def failed(
        cls, code: str, reason: str, remedy: str, exit_code: int | None = None, changes: dict[str, Any] | None = None
    ) -> Ending:
        return cls(FAILED, code, reason, remedy, exit_code, remedy_changes=changes or {})


def explain(exit_code: int, directory: RunDirectory) -> Ending:
    """Return what the end of a recipe's process means. Negative exit codes are signals, as subprocess has them."""
    if exit_code == 0 and directory.result() is not None:
        return Ending(SUCCEEDED, exit_code=0)
    if exit_code == 0 and (pause := directory.paused()) is not None:
        return Ending.paused(pause)
    if exit_code == 0:
        return Ending.failed(
            "no_result", "The recipe ended without an error and without a result.", "Check the log, then resume.", 0
        )
    if exit_code > 0 and (failure := directory.failure()) is not None:
        changes = failure.get("remedy_changes")
        return Ending.failed(failure["code"], failure["message"], failure["remedy"], exit_code, changes)
    if exit_code == NO_ROOM_FOR_WORDS:
        return Ending.failed(*DISK_FULL, exit_code)
    number = -exit_code if exit_code < 0 else exit_code - 128 if 128 < exit_code < 160 else 0
    if number in _FROM_OUTSIDE:
        return Ending.lost(_killed(number), exit_code)
    last_words = _last_words(directory.path / "log.txt")
    if any(words in last_words for words in _SAID_WITHOUT_MEMORY):
        return Ending.failed(*NO_MEMORY, exit_code)
    happened = (
        f"The recipe was ended by signal {_name(number)}"
        if number
        else f"The recipe ended with exit status {exit_code}"
    )
    return Ending.failed("crashed", f"{happened}.{last_words}", f"See the log. {_KEPT}", exit_code)


def log_tail(path: Path, lines: int = 60, limit: int = 32_000) -> str:
    """Return the end of a log. Progress bars that overwrote themselves leave their last state only."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - limit))
        text = file.read().decode("utf-8", "replace")
    log_lines = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n")]
    return "\n".join(log_lines[-lines - 1 :]).strip("\n")


def _killed(number: int) -> str:
    if number == signal.SIGKILL:
        return "the recipe was killed (signal 9), by a person, or by the system because memory ran out"
    return f"the recipe was ended by another process (signal {_name(number)})"


def _name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else str(number)


def _last_words(log: Path) -> str:
    lines = [line for line in log_tail(log, 20).splitlines() if line.strip() and not is_step_line(line)]
    return f"{LAST_WORDS} {lines[-1][:300]}" if lines else ""
