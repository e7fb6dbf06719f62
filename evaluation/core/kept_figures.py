"""Keep figures that take longer than a page may: looked up here, and computed by the background worker when asked for.

Figures of an older ledger are shown until newer ones are there, with how old they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from annotate.core import audit
from annotate.core.db.connections import database_now
from annotate.core.db.long_work import Hold, LongWorker, Lost
from annotate.core.errors import Refused
from annotate.core.periodic_tasks import PeriodicTask
from annotate.core.permissions import require
from annotate.models import Project, User
from evaluation.core import stored_values
from evaluation.core.recent_values import Recent
from evaluation.models import KeptFigures

KEPT = 20  # figures of a ledger that has grown are kept for so many times as long as they took
CHANGED = 2  # those of a ledger in which a status has changed for so many times, whichever project's it is
LONGEST = timedelta(hours=1)  # then they are computed again in any case: a row may have come late
AFTER_A_FAULT = timedelta(minutes=10)  # then what failed is tried again: it may be a fault of the program
Tell = Callable[[str, float], None]
Computation = Callable[[Project, str, Tell], tuple[str, Any]]  # the state that they are of, and the figures
_recent = Recent(32)


class BeingComputed(Exception):
    """Raised where nothing is kept yet: the background worker computes it."""

    def __init__(self, row: KeptFigures) -> None:
        super().__init__(f"{row} is being computed")
        self.row = row


def look(project: Project, judge: str, what: str) -> KeptFigures | None:
    """Return the row without its body: how old the figures are, and how far newer ones."""
    return KeptFigures.objects.filter(project=project, judge=judge, what=what).defer("body").first()


def kept(
    project: Project, judge: str, what: str, is_good: Callable[[KeptFigures], bool], classes: Iterable[type]
) -> Any:
    """Return the figures that are kept, and have them computed again if they are old or `is_good` says no.

    Raises BeingComputed where there are none.
    """
    row = look(project, judge, what)
    if row is None or row.computed_at is None or timezone.now() - row.computed_at > LONGEST or not is_good(row):
        row = ask(project, judge, what)
    if row.computed_at is None:
        raise BeingComputed(row)
    value = _recent.get(row.pk, str(row.computed_at))
    if value is None:
        try:
            value = stored_values.read(bytes(row.body or b""), classes)
        except stored_values.Unreadable:  # of another version
            raise BeingComputed(ask(project, judge, what)) from None
        _recent.put(row.pk, str(row.computed_at), value)
    return value


def ask(project: Project, judge: str, what: str) -> KeptFigures:
    """Have the background worker compute the figures, unless it has been asked."""
    row, _ = KeptFigures.objects.defer("body").get_or_create(project=project, judge=judge, what=what)
    if row.asked_at is None:
        row.asked_at = timezone.now()
        KeptFigures.objects.filter(pk=row.pk, asked_at=None).update(asked_at=row.asked_at)
    return row


def cancel(row: KeptFigures, *, by: User) -> None:
    """Stop computing figures. What was kept stays, and nothing is computed for ten minutes, however many look, unless
    somebody calls `go_on`."""
    fields = {"claim": None, "claimed_until": database_now() + AFTER_A_FAULT, "stage": "", "share": 0}
    _change(row, by, "figures.cancelled", KeptFigures.objects.exclude(problem=KeptFigures.CANCELLED), **fields)


def go_on(row: KeptFigures, *, by: User) -> None:
    """Have cancelled figures computed at once."""
    cancelled = KeptFigures.objects.filter(problem=KeptFigures.CANCELLED, claim=None)
    _change(row, by, "figures.computed again", cancelled, claimed_until=None, problem="")


def grows(row: KeptFigures, state: str, standing: str) -> bool:
    """Return whether figures are of this state, or young enough for another. One that begins with the same text
    `standing` differs by new rows alone, which may wait for longer."""
    if row.state == state or row.computed_at is None:
        return row.state == state
    times = KEPT if row.state.startswith(standing) else CHANGED
    return (timezone.now() - row.computed_at).total_seconds() < times * row.seconds


def figure_worker(computations: Mapping[str, Computation]) -> LongWorker[KeptFigures]:
    """Return what computes figures, of each kind by its function."""

    def waiting() -> QuerySet[KeptFigures]:
        rows = KeptFigures.objects.filter(asked_at__isnull=False, what__in=computations).order_by("asked_at")
        return rows.select_related("project").defer("body")

    return LongWorker(waiting, lambda hold: _compute(hold, computations[hold.row.what]), _fail)


def periodic_task(computations: Mapping[str, Computation]) -> PeriodicTask:
    worker = figure_worker(computations)
    return PeriodicTask("figures that take long", worker.do, every=1.0, end=worker.end)


def _compute(hold: Hold[KeptFigures], compute: Computation) -> None:
    began, at = time.monotonic(), timezone.now()
    state, value = compute(hold.row.project, hold.row.judge, hold)
    hold("writing", 1.0)
    _end(hold, state=state, body=stored_values.written(value), computed_at=at, seconds=time.monotonic() - began)


@transaction.atomic
def _change(row: KeptFigures, by: User, action: str, rows: QuerySet[KeptFigures], **fields: Any) -> None:
    require(by, "research", row.project)
    fields = {"problem": KeptFigures.CANCELLED, **fields}
    if not rows.filter(pk=row.pk, asked_at__isnull=False).update(**fields):
        raise Refused(409, figures="They have changed meanwhile; reload the page.")
    audit.record(action=action, about=f"{row.get_what_display()} ({row.judge})", by=by, project=row.project)


def _fail(hold: Hold[KeptFigures], error: Exception) -> None:
    """Say what went wrong, and let nobody begin anew for a while: an open page would ask again at once."""
    problem = f"{type(error).__name__}: {error}"[:2000]
    until = database_now() + AFTER_A_FAULT
    if not hold.held.update(problem=problem, claim=None, claimed_until=until, stage="", share=0):
        raise Lost


def _end(hold: Hold[KeptFigures], **fields: Any) -> None:
    free = {"asked_at": None, "claim": None, "claimed_until": None, "stage": "", "share": 0}
    if not hold.held.update(problem="", **free, **fields):
        raise Lost
