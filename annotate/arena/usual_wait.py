"""Tell how long visitors of a project usually wait until both answers have begun, from its latest battles."""

from __future__ import annotations

from statistics import median

from django.core.cache import cache

from annotate.models import Battle, Project
from annotate.models.prompts import ARENA

_BATTLES, _LEAST = 30, 5  # looked at, and needed to say anything
_KEPT_SECONDS = 60


def usual_seconds(project: Project) -> int | None:
    """Return the median in whole seconds, at least 1; None while too few battles were answered live.

    It is of the project and not of the two models of a battle, so that it says nothing of who they are.
    """
    key = f"arena-usual-seconds:{project.pk}"
    return cache.get_or_set(key, lambda: _measured(project), _KEPT_SECONDS) or None


def _measured(project: Project) -> int:
    live = Battle.objects.filter(project=project, begun_at__isnull=False, completion_a__source=ARENA)
    times = live.order_by("-pk").values_list("created_at", "begun_at")[:_BATTLES]
    waits = [(begun - created).total_seconds() for created, begun in times if begun]
    return max(round(median(waits)), 1) if len(waits) >= _LEAST else 0
