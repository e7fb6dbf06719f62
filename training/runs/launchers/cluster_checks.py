"""What `manage.py check` says of the settings of a Ray cluster."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

_GUIDE = "docs/guides/cluster.md"


def check_cluster(**_: Any) -> list[CheckMessage]:
    """Return errors and warnings; none without RAY_ADDRESS."""
    if not settings.RAY_ADDRESS:
        return []
    parts = urlsplit(settings.RAY_ADDRESS)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return [
            Error(
                f"RAY_ADDRESS is {settings.RAY_ADDRESS!r}, and runs are submitted to Ray's dashboard.",
                hint="Set the dashboard's address, such as http://head:8265; ports 6379 and 10001 are for other uses.",
                id="training.E001",
            )
        ]
    return [*_check_token(parts.scheme, parts.hostname), *_check_user()]


def _check_token(scheme: str, host: str) -> list[CheckMessage]:
    is_here = host in ("localhost", "127.0.0.1", "::1")
    if not settings.RAY_AUTH_TOKEN:
        return [
            Warning(
                "The Ray cluster asks for no token: everybody who reaches its ports can run any code on every node.",
                hint="Start Ray with RAY_AUTH_MODE=token on each node, set RAY_AUTH_MODE and RAY_AUTH_TOKEN here, and "
                f"close its ports to all other hosts: {_GUIDE}.",
                id="training.W001",
            )
        ]
    if scheme == "http" and not is_here:
        return [
            Warning(
                "The token of the Ray cluster crosses the network without encryption.",
                hint=f"Keep the cluster in a private network, or put TLS before its dashboard: {_GUIDE}.",
                id="training.W002",
            )
        ]
    return []


def _check_user() -> list[CheckMessage]:
    if not settings.RECIPE_USER:
        return []
    return [
        Warning(
            "ASSAY_RECIPE_USER has no effect on a Ray cluster: recipes run as the user who started Ray.",
            hint="Start Ray on the nodes as the user that recipes should run as.",
            id="training.W003",
        )
    ]
