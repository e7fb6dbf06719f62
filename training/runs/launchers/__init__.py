"""Launchers put an attempt on hardware. `settings.RUN_LAUNCHER` names one; each is a module with four verbs:

    submit(directory, module, secrets={}) -> handle
                                            start `python -m module directory`; raises Busy when there is no room yet
    poll(handle) -> exit code or None       None while it runs; negative for a signal
    stop(handle, grace_seconds)             end it with everything it started; returns when it is over
    logs(directory) -> text                 the end of what it wrote

One that says TAKES_SECRETS hands `secrets`, {role: (address, key)}, to the recipe by `training.core.run_secrets`, and
writes them nowhere; runs that need none are submitted without. A launcher may offer `end_leftovers(directory)` (before
an attempt: end what an earlier one may have left running) and `usage(handle) -> Usage`.
"""

from __future__ import annotations

from dataclasses import dataclass


def module_named(name: str) -> str:
    """Return the dotted name of a launcher's module. One of this package goes by its last part alone."""
    app, _, rest = name.rpartition(".")[0].partition(".")
    is_own = not app or (app == "training" and rest.endswith("launchers"))
    return f"{__name__}.{name.rpartition('.')[2]}" if is_own else name


class Busy(Exception):
    """Raised when no GPU is free, or an earlier attempt is still ending. The worker asks again."""


@dataclass(frozen=True)
class Usage:
    cpu_seconds: float
    memory_bytes: int
