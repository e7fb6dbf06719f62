"""Show the open alerts on a project's page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from annotate.models import Project
from annotate.projects.overview.overview_parts import Alert as Line
from annotate.projects.overview.overview_parts import Part
from evaluation.alerts.alert_kinds import KINDS, RUN_FAILED, RUN_PAUSED
from evaluation.models import Alert

MOST = 8
_OF_RUNS = (RUN_FAILED.key, RUN_PAUSED.key)  # the overview of runs shows these by itself, as they are now


def of_project(project: Project) -> Part:
    """Return the newest open alerts, as many for each right: who may see some alone is shown as many of them."""
    return Part(alerts=_open_alerts(project))


def _open_alerts(project: Project) -> Iterator[Line]:
    alerts = Alert.objects.open().filter(project=project).exclude(kind__in=_OF_RUNS)
    newest = [alert for kinds in _kinds_by_right().values() for alert in alerts.filter(kind__in=kinds)[:MOST]]
    for alert in sorted(newest, key=lambda alert: alert.pk, reverse=True):
        kind = KINDS[alert.kind]
        yield Line(alert.text, kind.link, alert.url, "bad", kind.right)


def _kinds_by_right() -> dict[str, list[str]]:
    kinds = defaultdict[str, list[str]](list)
    for kind in KINDS.values():
        kinds[kind.right].append(kind.key)
    return kinds
