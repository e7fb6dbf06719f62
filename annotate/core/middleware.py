"""Restrict what a browser may do with our pages, should a text ever pass as markup; name a request's writes to the
database."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from annotate.core.db.connections import written_by

Answer = Callable[[HttpRequest], HttpResponseBase]
# Styles may stand in the page, since charts are drawn with them; scripts may not, and nothing comes from elsewhere.
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",  # the code of a second factor, and pictures of the documentation for programs
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


def name_writer(get_response: Answer) -> Answer:
    """Name each request's writes by its address, for the log of slow writes."""

    def answer(request: HttpRequest) -> HttpResponseBase:
        with written_by(f"{request.method} {request.path}"):
            return get_response(request)

    return answer


def content_security_policy(get_response: Answer) -> Answer:
    def answer(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        response.headers.setdefault("Content-Security-Policy", _POLICY)
        return response

    return answer
