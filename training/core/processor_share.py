"""Say how much of the processor a recipe may take: which cores, and only what requests for which people wait leave."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

NICE = 10  # beside a busy page a recipe gets a tenth of a core; where nobody waits, all of it


def be_nice(pid: int) -> None:
    """Make a process that leads a session nice. Does nothing where it has ended already.

    Where Linux shares the processor out by sessions first (autogroup, man 7 sched), a nice value only weighs the
    processes of one session: so the session becomes nice, too.
    """
    with suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, pid, NICE)
    with suppress(OSError):  # another system, or without autogroups
        Path(f"/proc/{pid}/autogroup").write_text(str(NICE))


def usable_cores() -> int:
    """Return how many cores this process may use: fewer than there are where it was confined to some."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
