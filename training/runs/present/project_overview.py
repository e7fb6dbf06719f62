"""Say on a project's page which runs are under way, which failed, and which ended last."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import chain

from django.db.models import Count
from django.urls import reverse
from django.utils import timezone

from annotate.models import Project
from annotate.projects.overview.overview_parts import Alert, Event, Part, Station
from training.core.kinds import kind_title
from training.models import Run

MOST_ALERTS, MOST_EVENTS = 4, 8
FAILED_DAYS = 7  # after so long a failed run is no news
_STATES = Run.State
_ENDED = {_STATES.SUCCEEDED: "succeeded", _STATES.FAILED: "failed", _STATES.CANCELLED: "was cancelled"}


def of_project(project: Project) -> Part:
    """Return the station of runs, what is under way or failed, and what ended last."""
    counts = dict(project.runs.order_by().values_list("state").annotate(n=Count("id")))
    return Part((_station(project, counts),), chain(_under_way(project), _failed(project)), _ended(project))


def _station(project: Project, counts: dict[str, int]) -> Station:
    order = (_STATES.RUNNING, _STATES.QUEUED, _STATES.PAUSED, _STATES.FAILED)
    line = ", ".join(f"{counts[state]:,} {state}" for state in order if counts.get(state))
    is_live = any(counts.get(state) for state in order[:3])
    state = "live" if is_live else "bad" if counts.get(_STATES.FAILED) else ""
    address = reverse("runs", args=[project.slug])
    return Station("runs", "Runs", sum(counts.values()), line or "none is running", address, state)


def _under_way(project: Project) -> Iterator[Alert]:
    for run in project.runs.unfinished()[:MOST_ALERTS]:
        words = {
            _STATES.RUNNING: f"runs, step {run.step:,} of {run.total_steps:,}." if run.total_steps else "runs.",
            _STATES.PAUSED: "is paused and waits for a decision.",
            _STATES.QUEUED: "waits for a worker.",
        }[_STATES(run.state)]
        yield _alert(run, words, "bad" if run.state == _STATES.PAUSED else "live")


def _failed(project: Project) -> Iterator[Alert]:
    since = timezone.now() - timedelta(days=FAILED_DAYS)
    for run in project.runs.filter(state=_STATES.FAILED, finished_at__gte=since)[:MOST_ALERTS]:
        yield _alert(run, "failed.", "bad")


def _alert(run: Run, words: str, state: str) -> Alert:
    return Alert(f"{kind_title(run)} {words}", run.name, reverse("run", args=[run.pk]), state)


def _ended(project: Project) -> Iterator[Event]:
    runs = project.runs.filter(state__in=_ENDED, finished_at__isnull=False).order_by("-finished_at")
    for run in runs[:MOST_EVENTS]:
        assert run.finished_at is not None
        yield Event(run.finished_at, f"{_ENDED[_STATES(run.state)]}.", run.name, reverse("run", args=[run.pk]))
