"""Bring each run's figures to each tracker: the background worker's task, a little at a time.

A row of `TrackedRun` says how far a tracker is. It moves after the tracker has taken the figures, so that one that was
away, or a worker that was killed, costs at most that some are sent twice. A tracker that fails is left alone for a
minute, and says why on the run's page.
"""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from functools import cache
from typing import Protocol

from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from annotate.core.periodic_tasks import PeriodicTask
from common.texts import first_line
from training.models import Metric, Run, TrackedRun
from training.runs.trackers import mlflow_server, weights_and_biases
from training.runs.trackers.mlflow_server import MLflow
from training.runs.trackers.tensorboard_files import NAME, TensorBoard
from training.runs.trackers.weights_and_biases import WeightsAndBiases

log = logging.getLogger("assay.trackers")
ROWS = 1000  # of one run at a time
RUNS = 20  # at a time
FAILED_SECONDS = 60.0
SINCE = timedelta(hours=1)  # a run that had ended longer ago when a tracker was configured is not sent to it
_rests_until: dict[str, float] = {}


class Tracker(Protocol):
    """Where figures go. `log` returns the address of the run's page there, "" where it has none."""

    name: str

    def log(self, run: Run, rows: list[Metric]) -> str: ...

    def finish(self, run: Run) -> None: ...

    def close(self) -> None: ...


def periodic_tasks() -> list[PeriodicTask]:
    return [PeriodicTask("figures for trackers", follow, every=5.0, end=close)]


@cache
def trackers() -> tuple[Tracker, ...]:
    """Return the trackers of this installation."""
    found: list[Tracker] = [TensorBoard()]
    if weights_and_biases.is_configured():
        found.append(WeightsAndBiases())
    if mlflow_server.is_configured():
        found.append(MLflow())
    return tuple(found)


def close() -> None:
    """Let go of what trackers hold open."""
    for tracker in trackers():
        tracker.close()


def follow() -> bool:
    """Send what waits; return whether more does."""
    more = False
    for tracker in trackers():
        if time.monotonic() < _rests_until.get(tracker.name, 0.0):
            continue
        runs = list(waiting(tracker.name)[:RUNS])
        more |= len(runs) == RUNS
        for run in runs:
            try:
                more |= send(tracker, run)
            except Exception as error:  # whatever a library or a server makes of it
                log.warning("%s took no figures of run %s: %s", tracker.name, run.pk, first_line(error))
                TrackedRun.objects.update_or_create(
                    run=run, tracker=tracker.name, defaults={"problem": first_line(error)[:300]}
                )
                _rests_until[tracker.name] = time.monotonic() + FAILED_SECONDS
                break
    return more


def waiting(name: str) -> QuerySet[Run]:
    """Return the runs of which a tracker has not all: those with newer figures, or that have ended since."""
    mine = TrackedRun.objects.filter(run=OuterRef("pk"), tracker=name)
    newer = Metric.objects.filter(run=OuterRef("run"), sequence__gt=OuterRef("sequence"))
    over = (Run.State.SUCCEEDED, Run.State.FAILED, Run.State.CANCELLED)
    known = Run.objects.filter(Exists(mine.filter(is_closed=False).filter(Exists(newer))))
    ended = Run.objects.filter(Exists(mine.filter(is_closed=False)), state__in=over)
    reopened = Run.objects.filter(Exists(mine.filter(is_closed=True))).exclude(state__in=over)  # somebody resumed it
    fresh = Run.objects.filter(Exists(Metric.objects.filter(run=OuterRef("pk")))).exclude(Exists(mine))
    if name != NAME:
        fresh = fresh.exclude(finished_at__lt=timezone.now() - SINCE)
    return (known | ended | reopened | fresh).select_related("project").order_by("pk")


def send(tracker: Tracker, run: Run) -> bool:
    """Send the next figures of a run; return whether there are more."""
    row, _ = TrackedRun.objects.get_or_create(run=run, tracker=tracker.name)
    rows = list(run.metrics.filter(sequence__gt=row.sequence).order_by("sequence")[:ROWS])
    if rows:
        row.address = tracker.log(run, rows) or row.address
        row.sequence = rows[-1].sequence
    row.is_closed = run.is_finished and len(rows) < ROWS
    if row.is_closed:
        tracker.finish(run)
    row.problem = ""
    row.save()
    return len(rows) == ROWS
