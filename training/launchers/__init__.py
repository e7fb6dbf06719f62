"""Launchers put an attempt on hardware. `settings.RUN_LAUNCHER` names the module; each offers four verbs:

    submit(directory, module) -> handle     start `python -m module directory`; raises Busy when there is no room yet
    poll(handle) -> exit code or None       None while it runs; negative for a signal
    stop(handle, grace_seconds)             end it with everything it started; returns when it is over
    logs(directory) -> text                 the end of what it wrote

and may offer `end_leftovers(directory)` (before an attempt: end what an earlier one may have left running) and
`usage(handle) -> Usage`.
"""

from __future__ import annotations

from dataclasses import dataclass


class Busy(Exception):
    """Not now: no GPU is free, or an earlier attempt is still ending. The worker asks again."""


@dataclass(frozen=True)
class Usage:
    cpu_seconds: float
    memory_bytes: int
