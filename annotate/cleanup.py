"""List the periodic tasks of this app."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.sessions.models import Session
from django.utils import timezone

from annotate.core.artefacts.blob_sweeper import BlobSweeper
from annotate.core.periodic_tasks import PeriodicTask
from annotate.data.datasets import freezing
from annotate.data.imports import kept_files as files
from annotate.data.imports.engine import Importer
from annotate.models import Delivery, FirstAnswer, TryCount
from annotate.projects.bulk_invitations.mailing import send_waiting
from annotate.projects.webhooks.deliveries import Deliverer

_HOUR = 3600.0
_COUNTS_LAST = timedelta(days=2)  # longer than any while in which tries are counted
_DELIVERIES_LAST = timedelta(days=30)
_FIRST_ANSWERS_LAST = timedelta(days=30)
_AT_ONCE = 1_000  # rows of one statement


def periodic_tasks() -> list[PeriodicTask]:
    importer, deliverer = Importer(), Deliverer()
    return [
        PeriodicTask("imports", importer.do, every=1.0, end=importer.end),
        PeriodicTask("deliveries", deliverer.do, every=0.5, end=deliverer.end, in_hand=deliverer.has_some),
        freezing.periodic_task(),
        PeriodicTask("invitations", send_waiting, every=2.0),
        PeriodicTask("sweep", sweep, every=_HOUR),
        PeriodicTask("blobs", BlobSweeper().do, every=_HOUR),
    ]


def sweep() -> bool:
    """Take away what nobody needs any more: counts of tries, files of imports, deliveries and answers of long ago, and
    sessions that have run out."""
    now = timezone.now()
    files.sweep()
    tries = TryCount.objects.filter(since__lt=now - _COUNTS_LAST)
    old_deliveries = Delivery.objects.exclude(state=Delivery.State.WAITING).filter(
        created_at__lt=now - _DELIVERIES_LAST
    )
    old_answers = FirstAnswer.objects.filter(created_at__lt=now - _FIRST_ANSWERS_LAST)
    sessions = Session.objects.filter(expire_date__lt=now)
    most_deleted = 0
    for rows in (tries, old_deliveries, old_answers, sessions):
        ids: list[Any] = list(rows.order_by("pk").values_list("pk", flat=True)[:_AT_ONCE])
        most_deleted = max(most_deleted, len(ids))
        rows.model._default_manager.filter(pk__in=ids).delete()
    return most_deleted == _AT_ONCE
