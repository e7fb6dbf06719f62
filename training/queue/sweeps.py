"""What other apps have the worker look after between runs: they add a function, and it is called every few seconds.

For what a signal alone would lose: a process that is killed between a commit and what was to follow it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from django.db import InterfaceError, OperationalError

PAUSE_SECONDS = 3.0
SWEEPS: list[Callable[[], object]] = []
log = logging.getLogger("assay.worker")
_last = 0.0


def sweep() -> None:
    """Call each of them, if it is time. A fault in one stops neither the others nor the worker."""
    global _last
    if time.monotonic() - _last < PAUSE_SECONDS:
        return
    _last = time.monotonic()
    for one in SWEEPS:
        try:
            one()
        except (OperationalError, InterfaceError):  # the database is away: the worker waits for it
            raise
        except Exception:  # the worker's edge
            log.exception("%s failed; trying again.", one.__qualname__)
