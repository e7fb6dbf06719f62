"""Change how soon a waiting run begins. A manager of its project may raise it; its researchers may lower it."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.permissions import can, require
from annotate.models import Project, User
from training.models import Run

HIGHEST_FIRST = [priority.value for priority in Run.Priority]


def set_priority(*, run: Run, by: User, priority: str) -> Run:
    """Give a waiting run another priority, and return it. Refused with `priority`, or with `state`."""
    require(by, "research", run.project)
    with transaction.atomic():
        run = Run.objects.select_for_update(of=("self",)).select_related("project").get(pk=run.pk)
        check(priority, run.priority, run.project, by)
        if run.state != Run.State.QUEUED:
            raise Refused(409, state=f"The run is {run.state}; only a run that waits in the queue has a priority.")
        if run.priority != priority:
            changes = {"priority": [run.priority, priority]}
            run.priority = priority
            run.save(update_fields=["priority"])
            about = f"{run.kind} {run.name}"
            audit.record(action="run.priority", about=about, by=by, project=run.project, changes=changes)
    return run


@dataclass(frozen=True)
class PriorityChoice:
    """Hold a priority that a waiting run may be given. Only managers may raise it."""

    name: str
    is_raise: bool


def choices(run: Run) -> list[PriorityChoice]:
    """Return the other priorities, where the run waits in the queue."""
    if run.state != Run.State.QUEUED:
        return []
    before = HIGHEST_FIRST.index(run.priority)
    return [PriorityChoice(name, n < before) for n, name in enumerate(HIGHEST_FIRST) if n != before]


def check(priority: str, before: str, project: Project, by: User) -> None:
    """Check that the person may give a run of this project that priority. Raises Refused."""
    if priority not in HIGHEST_FIRST:
        raise Refused(400, priority=f"{priority!r} is not a priority; use one of {', '.join(HIGHEST_FIRST)}.")
    if HIGHEST_FIRST.index(priority) < HIGHEST_FIRST.index(before) and not can(by, "manage", project):
        raise Refused(
            403, priority=f"Only a manager of {project.name} may raise a priority to {priority}; ask one of them."
        )
