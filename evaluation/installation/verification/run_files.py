"""Verify runs: the directory of each is its own, names its dataset, and holds checkpoints that can be read."""

from __future__ import annotations

import json
from collections.abc import Iterator

from django.db.models import Max

from evaluation.installation.verification.faults import Fault, Look, from_elsewhere, missing, place_of
from training.core.file_checks.whole_files import broken_files, last_sequence
from training.core.run_directory import RunDirectory
from training.models import Run
from training.storage.stored_runs import identity_of

_UNDER_WAY = (Run.State.QUEUED, Run.State.RUNNING)
_RESUMABLE = (Run.State.FAILED, Run.State.CANCELLED, Run.State.PAUSED)


def check_runs(look: Look) -> Iterator[Fault]:
    runs = Run.objects.exclude(started_at=None).exclude(state__in=_UNDER_WAY).select_related("dataset")
    for run in runs.annotate(last_metric=Max("metrics__sequence")).order_by("pk").iterator():
        look.say(place_of(run.path))
        if fault := missing(run.path, str(run)):
            yield fault
        elif run.path.is_dir():
            yield from _faults_of(run, look)


def check_checkpoints(look: Look) -> Iterator[Fault]:
    """Verify what runs would go on from: those that may be resumed, and those under way."""
    for run in Run.objects.filter(state__in=(*_RESUMABLE, *_UNDER_WAY)).order_by("pk").iterator():
        directory = RunDirectory(run.path)
        for folder in directory.complete_checkpoints():
            look.say(place_of(folder))
            for path in broken_files(folder):
                if path.exists():  # else it was pruned meanwhile
                    remedy = "Delete this checkpoint, so that the run goes on from the one before; or bring the run "
                    remedy += f"back: manage.py restore BACKUP --only {place_of(run.path)}."
                    yield Fault(str(run), place_of(path), "is truncated or damaged.", remedy)


def _faults_of(run: Run, look: Look) -> Iterator[Fault]:
    place, remedy = place_of(run.path), from_elsewhere(run.path)
    identity = run.path / "identity"
    if identity.exists() and identity.read_text(encoding="utf-8") != identity_of(run):
        yield Fault(str(run), f"{place}/identity", "names another run, of another database.", remedy)
        return
    try:
        config = json.loads((run.path / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return  # it never began
    except (OSError, ValueError) as error:
        yield Fault(str(run), f"{place}/config.json", f"cannot be read ({error}).", remedy)
        return
    named = config.get("dataset_hash", "")
    if run.dataset is not None and named and named != run.dataset.content_hash:
        problem = f"names the dataset {named[:12]}, the row {run.dataset.content_hash[:12]}."
        yield Fault(str(run), f"{place}/config.json", problem, remedy)
    last = getattr(run, "last_metric", None)
    if not look.is_quick and last and (kept := last_sequence(run.path / "metrics.jsonl")) < last:
        problem = f"ends with line {kept:,}, the rows of the database with {last:,}."
        yield Fault(str(run), f"{place}/metrics.jsonl", problem, remedy)
