"""Run a recipe as a subprocess of this worker: it ends when the worker does, whatever ends the worker."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from training.core import endings, parent_watchdog, processor_share
from training.runs.launchers import Usage, confinement, forked_process, gpus, multi_process, recipe_process
from training.runs.launchers.forked_process import StartedServer
from training.runs.launchers.recipe_process import Recipe, Secrets

RUN_VARIABLE = recipe_process.RUN_VARIABLE
GRACE_SECONDS = parent_watchdog.GRACE_SECONDS
TAKES_SECRETS = True


@dataclass
class _Child:
    recipe: Recipe
    person: confinement.Person | None = None  # whom it runs as, when not as the worker
    gpus: int = 0

    @property
    def process(self) -> Any:
        return self.recipe.process


_children: dict[str, _Child] = {}
_own_server: list[StartedServer] = []  # at most one


def preload() -> None:
    """Start the process that this worker's recipes are forked from, unless ASSAY_FORK_SERVER names one or is 0.

    Not beside GPUs, since their drivers do not survive a fork, and not for recipes of another user, who would share its
    memory.
    """
    if not (_is_own_server() and forked_process.is_possible()) or gpus.names() or confinement.person():
        return
    server = forked_process.start_server(_environment(settings.RUNS_DIR, gpus.Lease(), processes=1))
    processor_share.be_nice(server.process.pid, settings.RECIPE_NICE)
    _own_server[:] = [server]


def submit(directory: Path, module: str, secrets: Secrets = recipe_process.NO_SECRETS) -> str:
    processes = multi_process.processes_of(directory)
    multi_process.check_gpus(processes, len(gpus.names()))
    multi_process.check_nodes(directory)
    person = confinement.person()
    with contextlib.ExitStack() as own_copies:  # our copies of what the recipe inherits
        lock = own_copies.enter_context(recipe_process.lock(directory))
        leased = own_copies.enter_context(gpus.lease(settings.RUNS_DIR / "gpus", processes))
        log = own_copies.enter_context(recipe_process.open_log(directory, module))
        line = multi_process.command(directory, module, processes)
        confinement.hand_over(directory, person)
        recipe = recipe_process.start(
            directory,
            line,
            _environment(directory, leased, processes),
            folder=settings.BASE_DIR,
            lock=lock,
            log=log,
            limits=confinement.limits(),
            secrets=secrets,
            descriptors=leased.descriptors,
            processes=processes + multi_process.actors_of(directory),
            fork_server=_fork_server(),
            **_as(person),
        )
    processor_share.be_nice(recipe.process.pid, settings.RECIPE_NICE)
    handle = f"{os.uname().nodename}:{recipe.process.pid}:{time.time():.0f}"
    _children[handle] = _Child(recipe, person, len(leased.files))
    return handle


def poll(handle: str) -> int | None:
    """Return the exit status. A recipe that another worker started died with it, by its parent watchdog: as if
    killed."""
    child = _children.get(handle)
    if child is None:
        return -signal.SIGKILL
    was_over = child.recipe.is_over
    code = recipe_process.poll(child.recipe)
    _take_back(child, was_over)
    return code


def stop(handle: str, grace_seconds: float | None = None) -> None:
    """Send SIGTERM to all that the recipe started, and SIGKILL to what is left after the grace."""
    child = _children.get(handle)
    if child is None or child.recipe.is_over:
        return
    recipe_process.stop(child.recipe, GRACE_SECONDS if grace_seconds is None else grace_seconds)
    _take_back(child, was_over=False)


def forget(handle: str) -> None:
    """Let go of a recipe that has ended."""
    if child := _children.pop(handle, None):
        recipe_process.let_go(child.recipe)


def logs(directory: Path) -> str:
    return endings.log_tail(directory / "log.txt", lines=200)


def usage(handle: str) -> Usage:
    child = _children.get(handle)
    return child.recipe.usage if child else recipe_process.NO_USAGE


def gpus_of(handle: str) -> int:
    """Return how many GPUs the recipe was given."""
    child = _children.get(handle)
    return child.gpus if child else 0


def end_leftovers(directory: Path) -> None:
    """Kill whatever still works in this run directory: its worker is gone, and a new attempt is about to begin."""
    recipe_process.end_leftovers(directory)


def _take_back(child: _Child, was_over: bool) -> None:
    """Take back the files of a recipe that has just ended."""
    if child.recipe.is_over and not was_over:
        confinement.take_back(child.recipe.directory, child.person)


def _environment(directory: Path, leased: gpus.Lease, processes: int) -> dict[str, str]:
    return recipe_process.full_environment(
        confinement.environment(directory) | leased.environment,
        directory,
        processes=processes,
        threads=multi_process.threads_each(processes),
    )


def _is_own_server() -> bool:
    return bool(settings.FORK_SERVER == "1")


def _fork_server() -> Path | None:
    """Return the address of the process that recipes are forked from, None where there is none.

    One that was killed is started again, and this recipe anew. One that ended before it had loaded would do so again.
    """
    if _is_own_server():
        if _own_server and _own_server[0].process.poll() is not None and _own_server[0].address.exists():
            forked_process.let_go(_own_server[0])
            preload()
        return _own_server[0].address if _own_server else None
    return Path(settings.FORK_SERVER) if settings.FORK_SERVER != "0" else None


def _as(person: confinement.Person | None) -> dict[str, Any]:
    """Return the user for Popen, without the groups of whoever started the worker."""
    return {} if person is None else {"user": person.uid, "group": person.gid, "extra_groups": []}
