"""Long downloads, line by line, under ASGI as under WSGI."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse

_LINES = 500  # handed over at once


def json_lines(request: HttpRequest, lines: Iterator[str], *, name: str) -> StreamingHttpResponse:
    """A download called `name`. Under ASGI Django would read a plain iterator to its end before it sends anything."""
    content = _asynchronously(lines) if isinstance(request, ASGIRequest) else _joined(lines)
    response = StreamingHttpResponse(content, content_type="application/x-ndjson")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _joined(lines: Iterator[str]) -> Iterator[str]:
    while part := "".join(itertools.islice(lines, _LINES)):
        yield part


async def _asynchronously(lines: Iterator[str]) -> AsyncIterator[str]:
    parts = _joined(lines)
    while (part := await sync_to_async(lambda: next(parts, None))()) is not None:
        yield part
