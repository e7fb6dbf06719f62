"""Run the periodic tasks: each that is due is called once in a round, so that none keeps the others waiting for long.

A task that fails is tried again after a pause that grows; the others go on. While the database is as it was when a task
found nothing, it is not called: one small statement tells. Several background workers may run beside
each other: a task claims in the database whatever it takes up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from django.db import connection, reset_queries

from annotate.core.db.connections import AWAY, written_by
from annotate.core.db.data_state import DataWatch, data_state
from annotate.core.logs import context
from annotate.core.periodic_tasks import PeriodicTask

SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
_BEAT = 0.5  # seconds: those that rest wake together, at multiples of it, so that one look at the data serves all
log = logging.getLogger("assay.clerk")


@dataclass
class _Scheduled:
    task: PeriodicTask
    due_at: float = 0.0
    pause: float = field(default_factory=lambda: SHORTEST_PAUSE)
    watch: DataWatch = field(default_factory=DataWatch)

    def may_rest(self, state: Hashable) -> bool:
        """Return whether a call would find what the last one left: the data are the same."""
        return self.task.rests and self.watch.may_rest(state) and not self.task.in_hand()


class BackgroundWorker:
    def __init__(self, tasks: Sequence[PeriodicTask]) -> None:
        self._scheduled = [_Scheduled(task) for task in tasks]
        self._ending = threading.Event()

    def end(self) -> None:
        """Finish the task under way and give back what is held; from a signal's handler, too."""
        self._ending.set()

    def work(self, *, once: bool = False) -> None:
        """Run until `end`; with `once`, until no task has more to do at the moment."""
        while not self._ending.is_set():
            is_more = self.round()
            if once and not is_more:
                break
            if not is_more:
                soonest = min(
                    (scheduled.due_at for scheduled in self._scheduled), default=time.monotonic() + LONGEST_PAUSE
                )
                self._ending.wait(max(0.0, soonest - time.monotonic()))
        for scheduled in self._scheduled:
            self._give_back(scheduled.task)

    def round(self) -> bool:
        """Call each task that is due once. Return whether any has more to do at once."""
        is_more, began = False, time.monotonic()
        due = [scheduled for scheduled in self._scheduled if scheduled.due_at <= began]
        state = _state() if any(scheduled.task.rests for scheduled in due) else None
        for scheduled in due:
            if self._ending.is_set():
                return False
            if scheduled.may_rest(state):
                scheduled.due_at = (began + scheduled.task.every) // _BEAT * _BEAT
            else:
                is_more |= self._take(scheduled, state)
        return is_more

    def _take(self, scheduled: _Scheduled, state: Hashable) -> bool:
        reset_queries()
        try:
            with written_by(f"task {scheduled.task.name}"), context.bound(task=scheduled.task.name):
                is_more = scheduled.task.do()
        except Exception as error:  # the edge: one task's fault must not stop the others
            _say(scheduled, error)
            connection.close()  # whatever was wrong with it: the next task begins with another
            scheduled.due_at = time.monotonic() + scheduled.pause
            scheduled.pause = min(scheduled.pause * 2, LONGEST_PAUSE)
            scheduled.watch.forget()
            return False
        scheduled.pause = SHORTEST_PAUSE
        scheduled.due_at = time.monotonic() + (0.0 if is_more else scheduled.task.every)
        if is_more:
            scheduled.watch.forget()
        else:
            scheduled.watch.note_nothing(state)
        return is_more

    def _give_back(self, task: PeriodicTask) -> None:
        try:
            task.end()
        except Exception as error:  # its lease runs out instead
            log.warning("%s did not give back what it held: %s", task.name, error)


def _state() -> Hashable:
    """Return the state of the data; one that no other is equal to while the database is away, which tasks will meet."""
    try:
        return data_state()
    except AWAY:
        connection.close()
        return object()


def _say(scheduled: _Scheduled, error: Exception) -> None:
    if isinstance(error, AWAY):
        log.warning("%s: the database is away (%s); again in %.0f s", scheduled.task.name, error, scheduled.pause)
    else:
        log.exception("%s failed; again in %.0f s", scheduled.task.name, scheduled.pause)
