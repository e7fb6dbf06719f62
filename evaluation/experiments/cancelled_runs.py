"""Cancel what was queued while its experiment was cancelled, by a process that died before it saw that."""

from __future__ import annotations

from contextlib import suppress

from django.db.models import F, OuterRef, Subquery

from annotate.core.errors import Refused
from annotate.models import AuditEntry
from evaluation.models import Experiment
from training.models import Run
from training.runs.ordering import actions as runs

KEY = ":experiment:"  # in the idempotency key of each of its runs, after the account's scope


def cancel_late() -> None:
    """Cancel unfinished runs that are younger than the cancellation of their experiment. Older ones were cancelled
    with it; somebody who resumes one of those wants it."""
    unfinished = Run.objects.unfinished().filter(idempotency_key__contains=KEY, cancel_requested_at=None)
    queued = list(unfinished.exclude(created_by=None).select_related("created_by"))
    if not queued:
        return
    entries = AuditEntry.objects.filter(
        action="experiment.cancelled", project=OuterRef("project"), about=OuterRef("name")
    )
    of = Experiment.objects.filter(state=Experiment.State.CANCELLED, pk__in={_experiment_of(run) for run in queued})
    moments = dict(of.annotate(at=Subquery(entries.values("created_at")[:1])).values_list("pk", F("at")))
    for run in queued:
        moment = moments.get(_experiment_of(run))
        if moment is not None and run.created_at >= moment and run.created_by is not None:
            with suppress(Refused):  # it has ended meanwhile
                runs.cancel(run=run, by=run.created_by)


def _experiment_of(run: Run) -> int:
    number = str(run.idempotency_key).partition(KEY)[2].partition(":")[0]
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 19 else 0  # keys are anybody's
