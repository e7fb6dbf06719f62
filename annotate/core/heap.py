"""Keep Python's garbage collector away from objects that live as long as the process."""

from __future__ import annotations

import gc

from django.urls import get_resolver

# The young are looked at after 10,000 new objects not freed by themselves; all of them, a seventieth as often.
THRESHOLDS = 10_000, 10, 50


def settle() -> None:
    """Move what start-up made out of the collector's sight: modules, classes, addresses; some hundred thousand.

    A full collection looks at every object and keeps the interpreter all the while: 100 to 200 ms of a process that has
    imported numpy, for all of its threads, also for one that holds the database's write lock. What is loaded stays
    until the process ends, so that nothing of it could be freed (gc.freeze). Nor is the rest looked at as often.
    """
    _ = get_resolver().url_patterns  # imports the pages, before the first request does
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
