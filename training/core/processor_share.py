"""Say how much of the processor a recipe may take: which cores, and only what requests for which people wait leave."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def be_nice(pid: int, nice: int) -> None:
    """Make a process that leads a session nice, at 0 as it is. Does nothing where it has ended already.

    Where Linux shares the processor out by sessions first (autogroup, man 7 sched), a nice value only weighs the
    processes of one session: so the session becomes nice, too.
    """
    if not nice:
        return
    with suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, pid, nice)
    with suppress(OSError):  # another system, or without autogroups
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))


def usable_cores() -> int:
    """Return how many cores this process may use: fewer than there are where it was confined to some."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
