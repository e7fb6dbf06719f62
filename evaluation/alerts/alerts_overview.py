"""Show the open alerts on a project's page."""

from __future__ import annotations

from collections import Counter
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
    shown: Counter[str] = Counter()
    for alert in Alert.objects.open().filter(project=project).exclude(kind__in=_OF_RUNS):
        kind = KINDS[alert.kind]
        if shown[kind.right] < MOST:
            shown[kind.right] += 1
            yield Line(alert.text, kind.link, alert.url, "bad", kind.right)
