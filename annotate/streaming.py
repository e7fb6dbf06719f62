"""Long downloads, by lines or blocks, under ASGI as under WSGI."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse
from django.utils.http import content_disposition_header

_LINES = 500  # handed over at once
_BLOCK = 1 << 20


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


def file(request: HttpRequest, path: Path, *, name: str) -> StreamingHttpResponse:
    """A download of any size called `name`, block by block: memory stays flat."""
    content = _blocks_asynchronously(path) if isinstance(request, ASGIRequest) else _blocks(path)
    response = StreamingHttpResponse(content, content_type="application/octet-stream")
    response["Content-Length"] = path.stat().st_size
    response["Content-Disposition"] = content_disposition_header(as_attachment=True, filename=name) or "attachment"
    return response


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as opened:
        while block := opened.read(_BLOCK):
            yield block


async def _blocks_asynchronously(path: Path) -> AsyncIterator[bytes]:
    opened = await asyncio.to_thread(path.open, "rb")
    try:
        while block := await asyncio.to_thread(opened.read, _BLOCK):
            yield block
    finally:
        opened.close()
