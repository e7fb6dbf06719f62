"""List the periodic tasks of the queue: take in changes, give back reserved work, and ask models what they are unsure
of."""

from __future__ import annotations

from django.db import transaction

from annotate.core.periodic_tasks import PeriodicTask
from annotate.labelling.queue import entries as queue
from annotate.labelling.queue import priorities, reserved
from annotate.labelling.queue.urgent_items import reserved_in, urgent_pairs
from annotate.models import Project, QueueChange

_MINUTES = 60.0


def periodic_tasks() -> list[PeriodicTask]:
    return [
        PeriodicTask("queue", take_in_changes, every=2.0),
        PeriodicTask("reserved work", reserved.give_back, every=30.0),
        PeriodicTask("priorities", renew_priorities, every=5 * _MINUTES),
    ]


def take_in_changes() -> bool:
    """Take in changes of a few hundred prompts of one project, so that annotators wait a moment at most; return how
    many."""
    first = QueueChange.objects.order_by("pk").select_related("project").first()
    if first is None:
        return False
    project = first.project
    with transaction.atomic():
        project.lock()
        queue.take_in(project, reserved_in(urgent_pairs(project)))
    return QueueChange.objects.exists()


def renew_priorities() -> bool:
    for project in Project.objects.all():
        priorities.renew(project)
    return False
