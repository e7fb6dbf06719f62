"""Bring figures of runs to trackers: the background worker's task, in a thread, as a tracker may keep it waiting.

A row of `TrackedRun` says how far a tracker is, and which background worker sends to it: one at a time, under a lease.
It moves after the tracker has taken the figures, so that one that was away, or a worker that was killed, costs at most
that some are sent twice. Where a run's figures are not taken, the run rests for a minute and its page says why; where
three runs' are not, the tracker does.
"""

from __future__ import annotations

import logging
import re
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache
from typing import Protocol

from django.db import connections
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from annotate.core.periodic_tasks import PeriodicTask
from common.texts import first_line
from training.models import Metric, Run, RunQuerySet, TrackedRun
from training.runs.trackers import mlflow_server, weights_and_biases
from training.runs.trackers.mlflow_server import MLflow
from training.runs.trackers.tensorboard_files import NAME, TensorBoard
from training.runs.trackers.weights_and_biases import WeightsAndBiases

log = logging.getLogger("assay.trackers")
ROWS = 1000  # of one run at a time
EVERY = 5.0  # seconds
REST = 60.0  # seconds for what failed
MOST_FAILURES = 3  # one after the other, until the tracker itself is left alone
LEASE = timedelta(minutes=5)
LOOKS_BACK = timedelta(hours=1)  # for runs that had ended when a server was configured
OVER = (Run.State.SUCCEEDED, Run.State.FAILED, Run.State.CANCELLED)
_PASSWORD = re.compile(r"//[^/@\s]+@")


class Tracker(Protocol):
    """Where figures go. `log` returns the address of the run's page there, "" where it has none."""

    name: str

    def log(self, run: Run, rows: list[Metric]) -> str: ...

    def finish(self, run: Run) -> None: ...

    def let_go(self, run: Run) -> None: ...

    def close(self) -> None: ...


@cache
def trackers() -> tuple[Tracker, ...]:
    """Return the trackers of this installation."""
    found: list[Tracker] = [TensorBoard()]
    if weights_and_biases.is_configured():
        found.append(WeightsAndBiases())
    if mlflow_server.is_configured():
        found.append(MLflow())
    return tuple(found)


class Sender:
    """Send what waits to every tracker, again and again; `claim` is this process's."""

    def __init__(self) -> None:
        self.claim = uuid.uuid4()
        self._rests: dict[tuple[str, int], float] = {}  # until when; run 0 is the tracker itself
        self._looked: dict[str, datetime] = {}  # at the ended runs of a tracker, last
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()

    def do(self) -> bool:
        """Begin a round where none is under way."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._beside, name="trackers", daemon=True)
            self._thread.start()
        return False

    def end(self) -> None:
        """Leave off, and let go of what trackers hold open: whoever starts next takes it up again."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(10)
        for tracker in trackers():
            tracker.close()

    def _beside(self) -> None:
        try:
            self.round()
        except Exception as error:  # the database is away: the next round is in five seconds
            log.warning("No tracker was sent anything: %s", first_line(error))
        finally:
            connections.close_all()

    def round(self) -> None:
        """Send to each tracker all that waits for it."""
        for tracker in trackers():
            failures = 0
            for run in self.waiting(tracker.name):
                if self._ending.is_set() or self._is_resting(tracker.name, 0):
                    break
                if self._is_resting(tracker.name, run.pk):
                    continue
                failures = 0 if self._sent(tracker, run) else failures + 1
                if failures == MOST_FAILURES:
                    self._rests[tracker.name, 0] = time.monotonic() + REST

    def _is_resting(self, tracker: str, run: int) -> bool:
        return time.monotonic() < self._rests.get((tracker, run), 0.0)

    def _sent(self, tracker: Tracker, run: Run) -> bool:
        try:
            while self._send(tracker, run) and not self._ending.is_set():
                pass
        except Exception as error:  # whatever a library or a server makes of it
            problem = _PASSWORD.sub("//", first_line(error))
            log.warning("%s took no figures of run %s: %s", tracker.name, run.pk, problem)
            TrackedRun.objects.filter(run=run, tracker=tracker.name, claim=self.claim).update(problem=problem[:300])
            self._rests[tracker.name, run.pk] = time.monotonic() + REST
            tracker.let_go(run)
            return False
        return True

    def waiting(self, name: str) -> Iterator[Run]:
        """Yield the runs of which a tracker has not all: those with newer figures, or that have ended since."""
        now = timezone.now()
        rows = TrackedRun.objects.filter(tracker=name)
        newer = Metric.objects.filter(run=OuterRef("run"), sequence__gt=OuterRef("sequence"))
        standing = rows.filter(is_closed=False).filter(Q(run__state__in=OVER) | Exists(newer))
        mine = rows.filter(run=OuterRef("pk"))
        new = Run.objects.exclude(state__in=OVER).exclude(Exists(mine.filter(is_closed=False)))  # resumed ones too
        pks = [*standing.values_list("run", flat=True), *self._measured(new)]
        looked = self._looked.get(name)
        if looked is None or now - looked > timedelta(seconds=REST):
            ended = Run.objects.filter(state__in=OVER).exclude(Exists(mine))
            since = now - LOOKS_BACK if looked is None else looked - timedelta(seconds=REST)
            if looked is not None or name != NAME:
                ended = ended.filter(finished_at__gte=since)
            pks += self._measured(ended)
            self._looked[name] = now
        for pk in sorted(set(pks)):
            if run := Run.objects.select_related("project").filter(pk=pk).first():
                yield run

    @staticmethod
    def _measured(runs: RunQuerySet) -> list[int]:
        return list(runs.filter(Exists(Metric.objects.filter(run=OuterRef("pk")))).values_list("pk", flat=True))

    def _send(self, tracker: Tracker, run: Run) -> bool:
        """Send the next figures of a run; return whether there are more."""
        row = self._claimed(tracker, run)
        if row is None:
            return False
        rows = list(run.metrics.filter(sequence__gt=row.sequence).order_by("sequence")[:ROWS])
        if rows:
            row.address = _PASSWORD.sub("//", tracker.log(run, rows)) or row.address
            row.sequence = rows[-1].sequence
        row.is_closed = run.is_finished and len(rows) < ROWS
        if row.is_closed:
            tracker.finish(run)
        TrackedRun.objects.filter(pk=row.pk, claim=self.claim).update(
            address=row.address, sequence=row.sequence, is_closed=row.is_closed, problem=""
        )
        return len(rows) == ROWS

    def _claimed(self, tracker: Tracker, run: Run) -> TrackedRun | None:
        """Return the row, once nobody else sends to it; what another has sent meanwhile is not gone on with."""
        row, _ = TrackedRun.objects.get_or_create(run=run, tracker=tracker.name)
        free = Q(claim=self.claim) | Q(claimed_until=None) | Q(claimed_until__lt=timezone.now())
        claimed = TrackedRun.objects.filter(free, pk=row.pk)
        if not claimed.update(claim=self.claim, claimed_until=timezone.now() + LEASE):
            tracker.let_go(run)
            return None
        if row.claim != self.claim:
            tracker.let_go(run)
        return TrackedRun.objects.get(pk=row.pk)


def periodic_tasks() -> list[PeriodicTask]:
    sender = Sender()
    return [PeriodicTask("figures for trackers", sender.do, every=EVERY, end=sender.end)]
