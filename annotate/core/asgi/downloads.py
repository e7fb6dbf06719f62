"""Send long downloads, by lines or blocks, under ASGI as under WSGI."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse
from django.utils.http import content_disposition_header

_LINES = 500  # handed over at once
_BLOCK = 1 << 20


def json_lines(request: HttpRequest, lines: Iterator[str], *, name: str) -> StreamingHttpResponse:
    """Return a download called `name`. Under ASGI Django would read a plain iterator to its end before it sends
    anything."""
    content = _asynchronously(lines) if isinstance(request, ASGIRequest) else _joined(lines)
    response = StreamingHttpResponse(content, content_type="application/x-ndjson")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def download(request: HttpRequest, parts: Iterator[bytes], *, name: str, content_type: str) -> StreamingHttpResponse:
    """Return a file called `name`, made while it is sent."""
    content = _parts_asynchronously(parts) if isinstance(request, ASGIRequest) else parts
    response = StreamingHttpResponse(content, content_type=content_type)
    response["Content-Disposition"] = content_disposition_header(as_attachment=True, filename=name) or "attachment"
    return response


async def _parts_asynchronously(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (part := await sync_to_async(lambda: next(parts, None))()) is not None:
        yield part


def _joined(lines: Iterator[str]) -> Iterator[str]:
    while part := "".join(itertools.islice(lines, _LINES)):
        yield part


async def _asynchronously(lines: Iterator[str]) -> AsyncIterator[str]:
    parts = _joined(lines)
    while (part := await sync_to_async(lambda: next(parts, None))()) is not None:
        yield part


def file(request: HttpRequest, path: Path, *, name: str) -> StreamingHttpResponse:
    """Return a download of any size called `name`, block by block in flat memory; a broken one can be continued."""
    size = path.stat().st_size
    begin = _begin(request.headers.get("Range", ""), size)
    content = _blocks_asynchronously(path, begin) if isinstance(request, ASGIRequest) else blocks(path, begin)
    response = StreamingHttpResponse(content, content_type="application/octet-stream", status=206 if begin else 200)
    response["Accept-Ranges"] = "bytes"
    response["Content-Length"] = size - begin
    response["Content-Disposition"] = content_disposition_header(as_attachment=True, filename=name) or "attachment"
    if begin:
        response["Content-Range"] = f"bytes {begin}-{size - 1}/{size}"
    return response


def _begin(text: str, size: int) -> int:
    """Return where `Range: bytes=N-` begins. Any other range gets the whole, as RFC 9110 allows."""
    match = re.fullmatch(r"bytes=(\d{1,18})-", text, re.ASCII)
    begin = int(match[1]) if match else 0
    return begin if begin < size else 0


def blocks(path: Path, begin: int = 0) -> Iterator[bytes]:
    """Yield what a file holds, from a byte on."""
    with path.open("rb") as opened:
        opened.seek(begin)
        while block := opened.read(_BLOCK):
            yield block


async def _blocks_asynchronously(path: Path, begin: int) -> AsyncIterator[bytes]:
    opened = await asyncio.to_thread(path.open, "rb")
    try:
        opened.seek(begin)
        while block := await asyncio.to_thread(opened.read, _BLOCK):
            yield block
    finally:
        opened.close()
