"""Do long work one row at a time, in a thread of the background worker, so that its other tasks go on meanwhile.

A row is claimed under a lease that each step renews. Whoever is cut off loses it: the next to claim it begins anew, and
what was half done is written by nobody, as the last step is one transaction that asks whether the row is still held.

Progress is written by the background worker's own thread, never by the one that works: that may be between two rows of
a query, and beside an open query a write fails on SQLite as soon as anybody else has committed.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, Generic, TypeVar

from django.db import connection, connections
from django.db.models import Q, QuerySet

from annotate.core.db.connections import AWAY, database_now
from annotate.models.processes import LongWork

LEASE = timedelta(seconds=60)
SAID_EVERY = 0.5  # seconds between two notes of how far one stage is
_LOOKED = 0.02  # seconds that a round of the background worker waits for the thread
_ENDING = 10.0  # seconds that it is waited for at the end
log = logging.getLogger("assay.long_work")
Row = TypeVar("Row", bound=LongWork)


class Lost(Exception):
    """Raised when somebody else has the row, it was cancelled, or the process ends."""


class Hold(Generic[Row]):
    """A claimed row. Calling it says what is being done and how far it is; raises Lost when it is no longer held.

    Calling it writes nothing, so that it may be called between two rows of a query. `keep` writes what was said.
    """

    def __init__(self, row: Row, waiting: QuerySet[Row], ending: threading.Event) -> None:
        self.row, self._waiting, self._ending = row, waiting, ending
        self._lost = threading.Event()
        self._said = self._written = ("", 0.0)
        self._looked_at, self._kept_at = float("-inf"), time.monotonic()

    @property
    def held(self) -> QuerySet[Row]:
        """Return the row as a queryset, empty when it is no longer held: for conditional updates."""
        return self._waiting.filter(pk=self.row.pk, claim=self.row.claim)

    def __call__(self, stage: str, share: float) -> None:
        is_new, self._said = stage != self._said[0], (stage, share)
        if self._ending.is_set() or self._lost.is_set() or (is_new and not self.held.exists()):
            raise Lost

    def keep(self) -> None:
        """Write how far it is, and renew the lease in time, however long a step takes: whoever lives holds. Called by
        another thread than the one that works."""
        now = time.monotonic()
        if now < self._looked_at + SAID_EVERY:
            return
        self._looked_at, said = now, self._said
        if said != self._written or now > self._kept_at + LEASE.total_seconds() / 3:
            is_held = self.held.update(stage=said[0], share=said[1], claimed_until=database_now() + LEASE)
            self._written, self._kept_at = said, now
        else:
            is_held = self.held.exists()
        if not is_held:
            self._lost.set()

    def give_back(self) -> None:
        """Let the next worker begin at once."""
        self.held.update(claim=None, claimed_until=None, stage="", share=0)


class LongWorker(Generic[Row]):
    """Do the periodic task: take the next row that waits, and do its work.

    `waiting` returns rows that wait or are under way, the first one first. `work` does all of it, and ends the row by
    an update of `hold.held`. `fail` says in the row what went wrong, where trying again would be no better.
    """

    def __init__(
        self,
        waiting: Callable[[], QuerySet[Row]],
        work: Callable[[Hold[Row]], None],
        fail: Callable[[Hold[Row], Exception], None],
    ) -> None:
        self._waiting, self._work, self._fail = waiting, work, fail
        self._ending = threading.Event()
        self._hold: Hold[Row] | None = None
        self._thread: threading.Thread | None = None

    def do(self) -> bool:
        if self._thread is None or self._hold is None:
            self._hold = claim(self._waiting(), self._ending)
            if self._hold is None:
                return False
            self._thread = threading.Thread(target=self._do_beside, args=(self._hold,), name="long work", daemon=True)
            self._thread.start()
        self._hold.keep()
        self._thread.join(_LOOKED)
        if not self._thread.is_alive():
            self._thread = None
        return True

    def end(self) -> None:
        """Leave off at the next step, and give the row back."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(_ENDING)

    def do_now(self) -> bool:
        """Do the work of the next row in this thread, which writes no progress; return whether there was one."""
        hold = claim(self._waiting(), self._ending)
        if hold is not None:
            self._do(hold)
        return hold is not None

    def _do_beside(self, hold: Hold[Row]) -> None:
        try:
            self._do(hold)
        except AWAY as error:  # its lease runs out, and whoever comes next begins anew
            log.warning("%s waits: the database is away (%s)", hold.row, error)
        finally:
            connections.close_all()

    def _do(self, hold: Hold[Row]) -> None:
        failure: Exception | None = None
        try:
            self._work(hold)
            return
        except Lost:
            pass
        except Exception as error:  # the edge: it would only come again, but where the database is away or busy
            if isinstance(error, AWAY) and (_is_passing(error) or not connection.is_usable()):
                raise
            log.exception("%s failed", hold.row)
            failure = error.with_traceback(None)
        # These write: here, where no exception holds on to a query that is still open.
        if failure is None:
            hold.give_back()
        else:
            with suppress(Lost):
                self._fail(hold, failure)


def _is_passing(error: Exception) -> bool:
    """Return whether another try may not meet this error of the database; too large a statement meets it each time."""
    return any(word in str(error) for word in ("locked", "deadlock"))


def claim(waiting: QuerySet[Row], ending: threading.Event | None = None) -> Hold[Row] | None:
    """Return the first row that nobody has in hand, claimed for this process."""
    now = database_now()
    free = waiting.filter(Q(claimed_until=None) | Q(claimed_until__lt=now))
    for pk in free.values_list("pk", flat=True)[:10]:
        claim_id = uuid.uuid4()
        fields: dict[str, Any] = {"claim": claim_id, "claimed_until": now + LEASE, "stage": "", "share": 0}
        if free.filter(pk=pk).update(**fields):
            row = waiting.get(pk=pk, claim=claim_id)
            return Hold(row, waiting, ending or threading.Event())
    return None
