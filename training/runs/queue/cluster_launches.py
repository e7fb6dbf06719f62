"""Runs whose recipes outlive their worker, as on a cluster: who adopts them, and what their launcher says of them.

Of a launcher that does not say OUTLIVES_WORKER nothing is asked here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from types import ModuleType

from django.conf import settings
from django.utils import timezone

from annotate.core.artefacts import local_copies
from training.core.endings import Ending
from training.core.run_directory import RunDirectory
from training.models import Attempt, Run
from training.runs.launchers import Lost, NotStarted, local, module_named, node_files
from training.runs.queue import outputs, preparation, supervision


def outlives(launcher: ModuleType) -> bool:
    """Return whether the recipes of a launcher go on when their worker ends."""
    return bool(getattr(launcher, "OUTLIVES_WORKER", False))


def is_remote(launcher: ModuleType) -> bool:
    """Return whether recipes work in run directories of other hosts, which they bring from the storage and put back."""
    return outlives(launcher) and local_copies.is_on()


def begin(launcher: ModuleType, attempt: Attempt, memory_bytes: Callable[[], float]) -> None:
    """Let an earlier attempt on a cluster, by whichever launcher, know that this one begins; and then this launcher."""
    if is_remote(launcher):
        preparation.claim_directory(attempt.run)
    node_files.begin(attempt.run.path, attempt.number)
    if outlives(launcher):
        launcher.begin(attempt.run.path, attempt.number, int(memory_bytes()))


def renew(launcher: ModuleType, handle: str) -> None:
    """Pass on that the lease was renewed."""
    if handle and outlives(launcher):
        launcher.renewed(handle)


def is_full(launcher: ModuleType) -> bool:
    """Return whether runs had better wait in our queue, where they are in turn, than in the cluster's."""
    return outlives(launcher) and bool(launcher.is_full())


def note_words(launcher: ModuleType, attempt: Attempt, handle: str, before: str) -> str:
    """Write down where an attempt works, and what it waits for; return the latter. `before` is what it waited for."""
    if not outlives(launcher):
        return ""
    place, phase = launcher.place(handle)[:120], launcher.phase(handle)[:80]
    if place != attempt.node:
        attempt.node = place
        supervision.leased(attempt).update(node=place)
    if phase != before:
        run = Run.objects.filter(pk=attempt.run_id, state=Run.State.RUNNING)
        # What the recipe itself has said meanwhile is not overwritten.
        (run if phase else run.filter(phase=before)).update(phase=phase or "starting")
    return phase


def note_resumed(launcher: ModuleType, attempt: Attempt, handle: str) -> None:
    """Write down, once, from which checkpoint an attempt went on, where its node alone knows."""
    if not is_remote(launcher) or attempt.resumed_from_step is not None:
        return
    if (step := launcher.resumed_step(handle)) is not None:
        attempt.resumed_from_step = step
        supervision.leased(attempt).update(resumed_from_step=step)


def gather(launcher: ModuleType, attempt: Attempt) -> outputs.Outputs:
    """Read what a recipe that ended well has left: its model may be in the storage alone, by its node. Raises
    BadOutput."""
    end = node_files.NodeFiles(attempt.run.path, attempt.number).end() if is_remote(launcher) else None
    return outputs.gather(attempt.run, RunDirectory(attempt.run.path), end.model_hash if end else "")


def leave(launcher: ModuleType, attempt: Attempt, *, is_over: bool) -> None:
    """Follow an attempt's node no longer."""
    if is_remote(launcher):
        launcher.leave(attempt.run.path, is_over=is_over)


def note_gpus(launcher: ModuleType, attempt: Attempt, handle: str) -> None:
    """Write down, once, how many GPUs an attempt holds, and since when: from a launcher that can tell."""
    if attempt.gpus_since is not None or not hasattr(launcher, "gpus_of") or not (count := launcher.gpus_of(handle)):
        return
    attempt.gpus, attempt.gpus_since = count, timezone.now()
    supervision.leased(attempt).update(gpus=attempt.gpus, gpus_since=attempt.gpus_since)


def adopt(
    launcher: ModuleType, worker: str, own_attempts: Collection[int], is_gone: Callable[[str], bool]
) -> list[Attempt]:
    """Return the attempts of workers that are gone, now this worker's, with their recipes as they are; at most one."""
    if not outlives(launcher):
        return []
    name = module_named(settings.RUN_LAUNCHER)
    for attempt in supervision.orphans(is_gone=is_gone, own_attempts=own_attempts):
        if attempt.handle and module_named(attempt.launcher) == name and supervision.take_over(attempt, worker):
            if is_remote(launcher):
                preparation.claim_directory(attempt.run)
            launcher.adopt(attempt.run.path, attempt.number, attempt.handle)
            return [attempt]
    return []


def may_be_adopted(attempt: Attempt) -> bool:
    """Return whether its recipe may go on without its worker."""
    return bool(attempt.handle) and module_named(attempt.launcher) != local.__name__


def ending_of(error: Lost | NotStarted) -> Ending:
    """Return what it means for the run that its attempt went away with its machine."""
    return Ending.lost(str(error)) if isinstance(error, Lost) else Ending.not_started(str(error))
