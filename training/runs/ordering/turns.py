"""Order the runs that wait: by priority, then by the project whose turn it is, then the oldest first.

A run that has waited for `RUN_AGEING_HOURS` counts one priority higher, and after as long again another one: so a
stream of runs of high priority keeps no other waiting for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Case, Count, Max, Min, Q, QuerySet, Value, When
from django.utils import timezone

from training.models import Attempt, Run

_PRIORITY = Run.Priority


def next_runs(projects: Sequence[int], now: datetime) -> QuerySet[Run]:
    """Return the queued runs of these projects in the order in which workers take them. The first project is next."""
    place = Case(*(When(project=project, then=Value(n)) for n, project in enumerate(projects)))
    queued = Run.objects.filter(state=Run.State.QUEUED, project__in=projects)
    return queued.annotate(rank=_rank(now), place=place).order_by("-rank", "place", "pk")


def waiting_runs(*, without: Collection[int] = ()) -> list[int]:
    """Return the numbers of the queued runs by priority and age, without those of some projects: for pages, which do
    not foresee whose turn it will be."""
    queued = Run.objects.filter(state=Run.State.QUEUED).exclude(project__in=without)
    return list(queued.annotate(rank=_rank(timezone.now())).order_by("-rank", "pk").values_list("pk", flat=True))


def projects_in_turn() -> list[int]:
    """Return the projects that have queued runs, next first: that with fewest runs under way, then the one whose last
    attempt began longest ago, then that of the oldest run. So five hundred runs of one keep no other waiting."""
    queued = Run.objects.filter(state=Run.State.QUEUED).order_by()
    oldest = dict(queued.values_list("project").annotate(oldest=Min("pk")))
    attempts = Attempt.objects.filter(run__project__in=oldest).order_by().values_list("run__project")
    under_way = Count("pk", filter=Q(state=Attempt.State.RUNNING))
    before = {project: ranking for project, *ranking in attempts.annotate(under_way=under_way, last=Max("pk"))}
    return sorted(oldest, key=lambda project: (*before.get(project, (0, 0)), oldest[project]))


def _rank(now: datetime) -> Case:
    """Return the priority as a number from 0 to 2, raised by what the run has waited."""
    step = timedelta(hours=settings.RUN_AGEING_HOURS)
    once, twice = Q(queued_at__lt=now - step), Q(queued_at__lt=now - 2 * step)
    is_high, is_low = Q(priority=_PRIORITY.HIGH), Q(priority=_PRIORITY.LOW)
    return Case(
        When(is_high | twice | (~is_low & once), then=Value(2)),
        When(~is_low | once, then=Value(1)),
        default=Value(0),
    )
