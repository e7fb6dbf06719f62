"""Delete the checkpoints that the rule lets go, once a day by the worker."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from annotate.core.artefacts import local_copies
from annotate.models import Project
from training.core import kept_steps
from training.core.run_directory import RunDirectory
from training.models import Run
from training.storage import disk_usage, stored_runs

RULE = (
    "A run that succeeded keeps no checkpoints, because its output is complete.",
    "A run that failed, was cancelled or is paused keeps its last checkpoint until somebody deletes it, so "
    "that you can resume it. Earlier checkpoints are deleted a day after it ended.",
    "A queued or running run keeps its last two checkpoints.",
    "Models, kept checkpoints, datasets, logs and figures are never pruned: an adapter needs the model that it was "
    "trained on.",
)
_REST = timedelta(days=1)
_DAY_SECONDS = 24 * 3600
RESUMABLE = (Run.State.FAILED, Run.State.CANCELLED, Run.State.PAUSED)
log = logging.getLogger("assay.worker")


@dataclass(frozen=True)
class Pruned:
    """Hold what went, or would go, of one run."""

    run: Run
    folders: tuple[Path, ...]
    size: int


def prune(
    *,
    dry_run: bool = False,
    at_once: bool = False,
    project: Project | None = None,
    stored: Mapping[Path, Mapping[str, int]] | None = None,
) -> list[Pruned]:
    """Follow the rule in every run, or in those of one project. Returns what went, or with `dry_run` would go.

    `at_once` waits for no day to pass. `stored` are the stored runs, if they were listed.
    """
    ended_runs = Run.objects.filter(state__in=[Run.State.SUCCEEDED, *RESUMABLE]).order_by("pk")
    if project is not None:
        ended_runs = ended_runs.filter(project=project)
    now = timezone.now() + _REST if at_once else timezone.now()
    stored = disk_usage.stored_runs() if stored is None else stored
    results = []
    for run in ended_runs.iterator():
        steps = disk_usage.of_checkpoints(stored.get(run.path, {}))
        if not steps and not (run.path / "checkpoints").is_dir():
            continue
        if (pruned := _would_go(run, now, steps) if dry_run else _prune_one(run.pk, now, steps)) is not None:
            results.append(pruned)
    return results


def prune_last(run: Run) -> int:
    """Delete every checkpoint of a run that has ended, because somebody asked for it, and what it has kept on its way
    for a result that it never had. Returns the bytes freed."""
    before = stored_runs.stored_paths(run)  # not within the lock: a storage may be slow
    with transaction.atomic():
        locked_run = (
            Run.objects.select_for_update().filter(pk=run.pk, state__in=[Run.State.SUCCEEDED, *RESUMABLE]).first()
        )
        aside = _renamed_folders([*_folders(locked_run), *_kept_in_vain(locked_run)] if locked_run else [])
    stored = 0
    if locked_run:
        stored = local_copies.stored_size(run.path / "checkpoints")
        stored_runs.drop_checkpoints(locked_run, drops_kept=locked_run.state in RESUMABLE, among=before)
    return max(_remove(aside), stored)


def folders_to_prune(run: Run, now: datetime) -> tuple[Path, ...]:
    """Return what the rule lets go of this run at `now` on this host."""
    if _keeps_all(run, now):
        return ()
    last_checkpoint = RunDirectory(run.path).latest_checkpoint() if run.state in RESUMABLE else None
    return tuple(folder for folder in _folders(run) if folder != last_checkpoint)


def stored_to_prune(run: Run, now: datetime, steps: Mapping[str, int]) -> int:
    """Return the bytes that the rule lets go of this run's stored checkpoints, which `steps` are."""
    if _keeps_all(run, now) or not steps:
        return 0
    return sum(steps.values()) - (steps[max(steps)] if run.state in RESUMABLE else 0)


def _keeps_all(run: Run, now: datetime) -> bool:
    if run.state == Run.State.SUCCEEDED:
        return False
    return run.state not in RESUMABLE or _ended_at(run) > now - _REST


def _ended_at(run: Run) -> datetime:
    """Return when it ended: a paused run has not finished; its last attempt has ended."""
    attempt = run.attempts.order_by("-number").first()
    return run.finished_at or (attempt and attempt.ended_at) or run.created_at


def prune_daily() -> None:
    """Prune once a day over all workers: the time of the last round is that of a file beside the run directories."""
    mark = settings.RUNS_DIR / ".pruned"
    try:
        if mark.exists() and 0 <= time.time() - mark.stat().st_mtime < _DAY_SECONDS:
            return  # in the future lies a mark of a clock that went wrong: no reason to wait for that day
        mark.touch()
        os.utime(mark)
        if pruned := prune():
            freed = sum(one.size for one in pruned)
            log.info("pruned checkpoints of %s runs: %s freed", len(pruned), disk_usage.size_in_words(freed))
    except OSError as error:  # a full or broken disk: no reason for a worker to stop
        log.warning("Checkpoints were not pruned: %s", error)


def _would_go(run: Run, now: datetime, steps: Mapping[str, int]) -> Pruned | None:
    """Return what would go, without a lock: a page that only looks must not wait for the one writer, nor keep it
    waiting."""
    folders, stored = folders_to_prune(run, now), stored_to_prune(run, now, steps)
    size = max(sum(map(disk_usage.size_of, folders)), stored)
    return Pruned(run, folders, size) if folders or stored else None


def _prune_one(run_id: int, now: datetime, steps: Mapping[str, int]) -> Pruned | None:
    """Prune one run under a lock on it, so that nobody resumes it while its checkpoints go."""
    before = stored_runs.stored_paths(Run.objects.get(pk=run_id)) if steps else frozenset()
    with transaction.atomic():
        run = Run.objects.select_for_update().get(pk=run_id)
        folders, stored = folders_to_prune(run, now), stored_to_prune(run, now, steps)
        aside = _renamed_folders(folders)
    if not folders and not stored:
        return None
    stored_runs.drop_checkpoints(run, keeps_last=run.state in RESUMABLE, among=before)
    return Pruned(run, folders, max(_remove(aside), stored))


def _kept_in_vain(run: Run) -> list[Path]:
    """Return the models of steps that a run has kept and that are no models of this site."""
    folder = run.path / kept_steps.FOLDER
    return [folder] if run.state in RESUMABLE and folder.is_dir() else []


def _folders(run: Run) -> list[Path]:
    checkpoints = RunDirectory(run.path).checkpoints
    return sorted(path for path in checkpoints.iterdir() if path.is_dir()) if checkpoints.is_dir() else []


def _renamed_folders(folders: Sequence[Path]) -> list[Path]:
    """Rename the folders to a name that is no checkpoint's: quick, where deleting gigabytes would hold up whoever waits
    for the row."""
    aside = [folder.with_name(f".{folder.name.strip('.')}.pruned") for folder in folders]
    for folder, target in zip(folders, aside, strict=True):
        folder.rename(target)
    return aside


def _remove(folders: list[Path]) -> int:
    size = sum(map(disk_usage.size_of, folders))
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return size
