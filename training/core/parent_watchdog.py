"""A child that ends when its parent does, even when the parent is killed with -9.

The parent keeps the write end of a pipe and hands the read end down by `ASSAY_TETHER_FD`. When the parent is
gone, by whatever death, the kernel closes the pipe; the child reads end-of-file and ends its process group.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time

ENVIRONMENT_NAME = "ASSAY_TETHER_FD"
GRACE_SECONDS = 10.0  # that a recipe has to end in good order, and to write its checkpoint
PARENT_NAME = "ASSAY_TETHER_PARENT"  # for a child that inherits no pipe: the process whose death ends it

# It runs outside the group, so that it outlives the SIGTERM that it sends: a member that ignores SIGTERM is
# killed after the grace, even when the process that watched has long ended.
_EXECUTIONER = """
kill -s TERM -- "-$1"
left=$2
while [ "$left" -gt 0 ] && kill -s 0 -- "-$1"; do sleep 0.1; left=$((left - 1)); done
kill -s KILL -- "-$1"
"""


def watch_parent(grace_seconds: float = 5.0) -> None:
    """End this process group once the parent is gone. Does nothing when no parent asked for it."""
    descriptor, parent = os.environ.get(ENVIRONMENT_NAME), os.environ.get(PARENT_NAME)
    if descriptor is not None:
        threading.Thread(
            target=_wait, args=(int(descriptor), grace_seconds), name="parent-watchdog", daemon=True
        ).start()
    elif parent is not None:
        threading.Thread(target=_look, args=(int(parent), grace_seconds), name="parent-watchdog", daemon=True).start()


def _wait(descriptor: int, grace_seconds: float) -> None:
    while os.read(descriptor, 1):
        pass
    end_group(os.getpgrp(), grace_seconds)


def _look(parent: int, grace_seconds: float) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    end_group(os.getpgrp(), grace_seconds)


def end_group(group: int, grace_seconds: float = 5.0) -> None:
    """Send SIGTERM to a process group now, SIGKILL after the grace to what is left of it; returns at once."""
    tenths = str(max(0, round(grace_seconds * 10)))
    try:
        subprocess.Popen(
            ["/bin/sh", "-c", _EXECUTIONER, "parent-watchdog", str(group), tenths],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError:  # no shell or no memory for it: without a grace, rather than not at all
        os.killpg(group, signal.SIGKILL)
