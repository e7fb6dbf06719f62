"""Launchers put an attempt on hardware. `settings.RUN_LAUNCHER` names one; each is a module with five verbs:

    submit(directory, module, secrets={}) -> handle
                                            start `python -m module directory`; raises Busy when there is no room yet
    poll(handle) -> exit code or None       None while it runs; negative for a signal; may raise Lost or NotStarted
    stop(handle, grace_seconds)             end it with everything it started; returns when it is over
    logs(directory) -> text                 the end of what it wrote
    forget(handle)                          follow it no longer: it has ended, or goes on for another worker

One that says TAKES_SECRETS hands `secrets`, {role: (address, key)}, to the recipe by `training.core.run_secrets`, and
writes them nowhere; runs that need none are submitted without. A launcher may offer `end_leftovers(directory)` (before
an attempt: end what an earlier one may have left running; raises Busy while that lasts), `usage(handle) -> Usage`, and
`gpus_of(handle) -> number` (the GPUs that it holds for itself by now; 0 while it waits for them).

One that says OUTLIVES_WORKER starts recipes elsewhere, which go on when a worker ends: another one adopts them. It has

    begin(directory, attempt, memory_bytes) an attempt of that number is about to be submitted; before all else
    adopt(directory, attempt, handle)       follow what an earlier worker submitted
    renewed(handle)                         this worker lives and holds the lease; called in the lease's rhythm
    phase(handle), place(handle) -> text    what it waits for, and where it works, in words; may be empty
    is_full() -> bool                       that it waits for room already, so that more had better wait in our queue
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


class Lost(Exception):
    """Raised when an attempt ended with its machine, and nobody can say how. The run goes on from its checkpoint."""


class NotStarted(Exception):
    """Raised when an attempt never began to work. The run waits in the queue again; that counts against nothing."""


@dataclass(frozen=True)
class Usage:
    """What an attempt has cost. `starved_bytes`: the memory of its machine, where the system killed it for want of it
    and the launcher knows; 0 where the worker is to judge by its own machine."""

    cpu_seconds: float
    memory_bytes: int
    starved_bytes: int = 0
