"""Decide on a node, by its own clock, whether the recipe there may go on: while a worker looks after this attempt."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from training.runs.launchers.node_files import Heartbeat


@dataclass(frozen=True)
class Verdict:
    """Say why the recipe is to end, and within how long."""

    reason: str
    grace_seconds: float


def boot_clock() -> float:
    """Return seconds that also pass while the machine sleeps, where the system counts them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class HeartbeatWatch:
    """Judge heartbeats: who reads them calls `note`, who ends the recipe asks for the `verdict`.

    Two threads, for a read may hang with the file system; a verdict must not. The first one stays.
    """

    def __init__(
        self, attempt: int, patience: float, orphan_grace: float, clock: Callable[[], float] = boot_clock
    ) -> None:
        self.attempt, self._patience, self._orphan_grace, self._clock = attempt, patience, orphan_grace, clock
        self._counter: int | None = None
        self._changed_at = clock()
        self._verdict: Verdict | None = None
        self._is_alone = False
        self.is_superseded = False  # by another attempt

    @property
    def is_to_stop(self) -> bool:
        """Return whether somebody asked for the end: not that nobody was heard for long, which may pass."""
        return self._verdict is not None and not self._is_alone

    @property
    def is_seen(self) -> bool:
        """Return whether a heartbeat of this attempt was ever read."""
        return self._counter is not None

    def note(self, heartbeat: Heartbeat | None) -> None:
        """Take what was read. Nothing, or an earlier attempt's, is no news."""
        if heartbeat is None or heartbeat.attempt < self.attempt:
            return
        if heartbeat.attempt > self.attempt:
            self.is_superseded = True
            self.end("another attempt has begun", self._orphan_grace)
            return
        if heartbeat.counter != self._counter:
            self._counter, self._changed_at = heartbeat.counter, self._clock()
        if heartbeat.grace_seconds is not None:
            self.end("its worker asked for it", heartbeat.grace_seconds)

    def end(self, reason: str, grace_seconds: float) -> None:
        """Have the recipe ended, unless that was decided already."""
        self._verdict = self._verdict or Verdict(reason, grace_seconds)

    def verdict(self) -> Verdict | None:
        if self._verdict is None and self._clock() - self._changed_at > self._patience:
            self._is_alone = True
            self.end(f"no worker has looked after it for {self._patience:.0f} s", self._orphan_grace)
        return self._verdict
