"""Show a person that the server failed: a page that needs neither the database nor a session."""

from __future__ import annotations

import sys

from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.template.loader import render_to_string

from common.artefacts.storage_problems import StorageProblem

RETRY_SECONDS = 5
_SECRET = ("password", "secret", "token", "key", "code")  # parts of names of fields that are not written into a page
_NOT_KEPT = "csrfmiddlewaretoken"


def server_error(request: HttpRequest) -> HttpResponse:
    """Return 503 when the database or the storage did not answer in time, else 500. Called while the error is being
    handled.

    A form that was sent is kept in the 503 page and sent again with one click, unless it held a file or a secret.
    """
    error = sys.exc_info()[1]
    if isinstance(error, OperationalError | StorageProblem):
        problem = {"storage": error.public} if isinstance(error, StorageProblem) else {}
        page = render_to_string("503.html", _form(request) | problem)
        return HttpResponse(page, status=503, headers={"Retry-After": str(RETRY_SECONDS)})
    return HttpResponse(render_to_string("500.html"), status=500)


def _form(request: HttpRequest) -> dict[str, object]:
    """Return the fields that were sent, for the page to send again; nothing where they cannot be kept."""
    if request.method != "POST" or request.FILES:
        return {}
    fields = [(name, value) for name, values in request.POST.lists() for value in values if name != _NOT_KEPT]
    if not fields or any(part in name.lower() for name, _ in fields for part in _SECRET if name != "idempotency_key"):
        return {}
    return {"fields": fields, "address": request.get_full_path(), "csrf_token": get_token(request)}
