"""Where a run works that was sent to a cluster, for those who may see names of machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from django.conf import settings

from training.models import Attempt
from training.runs.launchers import module_named

_RAY = module_named("ray")


@dataclass(frozen=True)
class ClusterPlace:
    """A node in words, empty before one is found, and the address of the job in the cluster's dashboard."""

    node: str
    dashboard: str


def place_of(attempts: Sequence[Attempt]) -> ClusterPlace | None:
    """Return the place of the latest attempt; None where it was not sent to a cluster."""
    latest = attempts[-1] if attempts else None
    if latest is None or not latest.handle or module_named(latest.launcher) != _RAY:
        return None
    base = settings.RAY_DASHBOARD_URL
    return ClusterPlace(latest.node, f"{base}/#/jobs/{quote(latest.handle, safe='')}" if base else "")
