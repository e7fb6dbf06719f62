"""A child that ends when its parent does, even when the parent is killed with -9.

The parent keeps the write end of a pipe and hands the read end down by `ASSAY_TETHER_FD`. When the parent is
gone, by whatever death, the kernel closes the pipe; the child reads end-of-file and ends its process group.
"""

from __future__ import annotations

import os
import signal
import threading

ENVIRONMENT_NAME = "ASSAY_TETHER_FD"


def watch_parent(grace_seconds: float = 5.0) -> None:
    """End this process group once the parent is gone. Does nothing when nobody holds a tether."""
    descriptor = os.environ.get(ENVIRONMENT_NAME)
    if descriptor is not None:
        threading.Thread(target=_wait, args=(int(descriptor), grace_seconds), name="tether", daemon=True).start()


def _wait(descriptor: int, grace_seconds: float) -> None:
    while os.read(descriptor, 1):
        pass
    group = os.getpgrp()
    os.killpg(group, signal.SIGTERM)
    threading.Event().wait(grace_seconds)
    os.killpg(group, signal.SIGKILL)
