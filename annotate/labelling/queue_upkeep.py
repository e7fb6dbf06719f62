"""List the periodic tasks of the queue: take in changes, give back reserved work, and ask models what they are unsure
of."""

from __future__ import annotations

from django.db import connection, transaction

from annotate.core.periodic_tasks import PeriodicTask
from annotate.labelling.queue import entries as queue
from annotate.labelling.queue import priorities, reserved
from annotate.labelling.queue.urgent_items import reserved_in, urgent_pairs
from annotate.models import Project, QueueChange

_MINUTES = 60.0
# Prompts whose changes are taken in at once, by a few statements: meanwhile nobody draws in their project, and on
# SQLite nobody writes.
AT_ONCE = 100 if connection.vendor == "sqlite" else 250
_TIMES = 4  # in one turn


def periodic_tasks() -> list[PeriodicTask]:
    return [
        PeriodicTask("queue", take_in_changes, every=2.0),
        PeriodicTask("reserved work", reserved.give_back, every=30.0),
        PeriodicTask("priorities", renew_priorities, every=5 * _MINUTES),
    ]


def take_in_changes() -> bool:
    """Take in the oldest changes, some at a time, so that annotators wait a moment at most; return whether there are
    more. What an import adds in its turn is taken in within one of ours."""
    return all(_take_in_some() for _ in range(_TIMES))


def _take_in_some() -> bool:
    """Take in changes of `AT_ONCE` prompts of one project; return whether there are more."""
    first = QueueChange.objects.order_by("pk").select_related("project").first()
    if first is None:
        return False
    project = first.project
    with transaction.atomic():
        project.lock()
        queue.take_in(project, reserved_in(urgent_pairs(project)), limit=AT_ONCE)
    return QueueChange.objects.exists()


def renew_priorities() -> bool:
    for project in Project.objects.all():
        priorities.renew(project)
    return False
