"""Cancel runs whose order was cancelled by a process that died before it came to them, and those that were queued
meanwhile by one that died before it saw that.
"""

from __future__ import annotations

from contextlib import suppress

from django.db.models import F, OuterRef, QuerySet, Subquery

from annotate.core.errors import Refused
from annotate.models import AuditEntry
from common.whole_numbers import row_id
from training.models import Run
from training.runs.ordering import actions as runs


def cancel_late(cancelled: QuerySet, key: str, action: str) -> None:
    """Cancel unfinished runs of cancelled orders, but those that somebody has resumed since: they are older than the
    cancellation, and queued later.

    `cancelled` are orders with a project and a name, `key` stands before an order's id in the idempotency key of each
    of its runs, and `action` is what the audit calls the cancellation.
    """
    unfinished = Run.objects.unfinished().filter(idempotency_key__contains=key, cancel_requested_at=None)
    queued = list(unfinished.exclude(created_by=None).select_related("created_by"))
    if not queued:
        return
    entries = AuditEntry.objects.filter(action=action, project=OuterRef("project"), about=OuterRef("name"))
    of = cancelled.filter(pk__in={_order_of(run, key) for run in queued})
    moments = dict(of.annotate(at=Subquery(entries.values("created_at")[:1])).values_list("pk", F("at")))
    for run in queued:
        moment = moments.get(_order_of(run, key))
        if moment is not None and run.created_by is not None and not run.created_at < moment <= run.queued_at:
            with suppress(Refused):  # it has ended meanwhile
                runs.cancel(run=run, by=run.created_by, was_allowed=True)


def _order_of(run: Run, key: str) -> int:
    return row_id(str(run.idempotency_key).partition(key)[2].partition(":")[0])  # keys are anybody's
