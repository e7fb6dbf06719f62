"""Measure requests by the name of their view: an address holds slugs, tokens and what people search for."""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from annotate.core.metrics.counters import REQUEST_SECONDS, REQUESTS

log = logging.getLogger("assay.request")
_VIEW = "assay.view"  # of the scope
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def name_view(scope: dict[str, Any], request: HttpRequest | None) -> None:
    """Remember which view answered; "static" for files of the pages, "none" where no address fits."""
    match = request.resolver_match if request is not None else None
    if match is not None:
        scope[_VIEW] = match.view_name
    elif scope["path"].startswith(settings.STATIC_URL):
        scope[_VIEW] = "static"


def note(scope: dict[str, Any], status: int, seconds: float) -> None:
    """Count a request whose answer begins now, and log it where lines are for programs."""
    view = scope.get(_VIEW, "none")
    method = scope["method"] if scope["method"] in _METHODS else "other"
    REQUESTS.labels(view, method, f"{status // 100}xx").inc()
    REQUEST_SECONDS.labels(view, method).observe(seconds)
    if log.isEnabledFor(logging.INFO):
        fields = {"view": view, "method": method, "status": status, "milliseconds": round(1000 * seconds, 1)}
        log.info("answered", extra=fields)
