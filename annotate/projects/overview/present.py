"""Put the page of a project together for whoever looks at it."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from annotate.core.permissions import Person
from annotate.models import Project, User
from annotate.projects.member_languages import languages_of
from annotate.projects.next_step import checklist, next_step
from annotate.projects.overview.loop_stations import LOOP, counted_annotations, stations, waiting
from annotate.projects.overview.overview_parts import OVERVIEW, Alert, Event, Part
from annotate.projects.overview.recent_activity import MOST_EVENTS, annotations_by_day, changes


def overview(project: Project, user: Person, rights: Set[str]) -> dict[str, Any]:
    """Return the page's context for a reader of these rights. What fails, who changed what and the checklist are for
    those who research; who annotates alone is led to no page of theirs."""
    parts = [of_project(project) for of_project in OVERVIEW.values()]
    researches, manages = "research" in rights, "manage" in rights
    steps = checklist(project, is_manager=manages) if researches else []
    annotations = counted_annotations(project)
    own_stations = stations(project, rights, annotations)
    found = {each.name: each for each in (*own_stations, *(one for part in parts for one in part.stations))}
    annotates_only = "judge" in rights and "review" not in rights
    return {
        "loop": [] if annotates_only else [found[name] for name in LOOP if name in found],
        "next": next_step(project, user, rights, steps),
        "steps": steps,
        "alerts": _alerts(project, user, parts, rights) if researches else [],
        "events": _events(project, parts, manages=manages) if researches else [],
        "days": annotations_by_day(annotations),
    }


def _alerts(project: Project, user: Person, parts: list[Part], rights: Set[str]) -> list[Alert]:
    """Return what this reader may see, what is bad first; of two that lead to one page the first alone."""
    left = waiting(project, languages_of(project, user) if isinstance(user, User) else ())
    alerts = [*(alert for part in parts for alert in part.alerts), *([left] if left else [])]
    by_address: dict[str, Alert] = {}
    for alert in sorted(alerts, key=lambda alert: alert.state != "bad"):
        if alert.right in rights:
            by_address.setdefault(alert.address, alert)
    return list(by_address.values())


def _events(project: Project, parts: list[Part], *, manages: bool) -> list[Event]:
    """Return the last events, newest first; changes by people only to those who may read the audit trail."""
    events = [event for part in parts for event in part.events]
    events += changes(project) if manages else []
    return sorted(events, key=lambda event: event.at, reverse=True)[:MOST_EVENTS]
