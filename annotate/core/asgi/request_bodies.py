"""Bound request bodies while they come in: Django's own bounds are checked after all of it is on the disk.

DATA_UPLOAD_MAX_MEMORY_SIZE is for every address. A file may be as large as its importer takes: for the views that say
so (`annotate.core.large_uploads.takes_files`), of somebody who is signed in.
"""

from __future__ import annotations

import tempfile
from io import BytesIO
from typing import IO, Any

from channels.db import database_sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, JsonResponse
from django.urls import Resolver404, resolve
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from annotate.core.api.token_authentication import TokenAuthentication
from annotate.core.errors import Refused
from annotate.core.large_uploads import LARGEST_UPLOAD

FORM_BYTES = 1_000_000  # of a form around its file


class TooLarge(Exception):
    """Raised when a body has more bytes than `most`; `is_json` for a program."""

    def __init__(self, most: int, is_json: bool) -> None:
        super().__init__(most)
        self.most, self.is_json = most, is_json


async def read(scope: dict[str, Any], receive: Any) -> IO[bytes]:
    """Return the whole body, in a file when it is large. Raises TooLarge as soon as it is, and RequestAborted."""
    limit, is_json = settings.DATA_UPLOAD_MAX_MEMORY_SIZE, scope["path"].startswith("/api/")
    body = tempfile.SpooledTemporaryFile(max_size=settings.FILE_UPLOAD_MAX_MEMORY_SIZE, mode="w+b")  # noqa: SIM115
    announced, goes_on, is_asked = _length(scope), True, False
    size = 0
    try:
        while goes_on:
            if max(announced, size) > limit and not is_asked:
                is_asked = True
                if await database_sync_to_async(_may_be_large)(scope):
                    limit = LARGEST_UPLOAD + FORM_BYTES
            if max(announced, size) > limit:
                raise TooLarge(limit, is_json)
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RequestAborted
            part = message.get("body", b"")
            size += len(part)
            if size <= limit or not is_asked:
                body.write(part)
            goes_on = message.get("more_body", False)
        if is_asked and size > limit:  # by its last part, which was not written
            raise TooLarge(limit, is_json)
    except BaseException:
        body.close()
        raise
    body.seek(0)
    return body


def refusal(error: TooLarge) -> HttpResponse:
    words = (
        f"The request is larger than {error.most:,} bytes; send less at once. Signed-in people can upload larger files "
        "on the pages for uploads."
    )
    if error.is_json:
        response: HttpResponse = JsonResponse({"errors": {"body": words}}, status=413)
    else:
        response = HttpResponse(words, status=413, content_type="text/plain")
    response["Connection"] = "close"  # what is still to come is not read
    return response


def _length(scope: dict[str, Any]) -> int:
    header = dict(scope["headers"]).get(b"content-length", b"")
    return int(header) if header.isdigit() else 0


def _may_be_large(scope: dict[str, Any]) -> bool:
    """Return whether this address takes files and its sender is signed in."""
    try:
        view = resolve(scope["path"]).func
    except Resolver404:
        return False
    if not getattr(view, "takes_files", getattr(getattr(view, "cls", None), "takes_files", False)):
        return False
    request = ASGIRequest(scope, BytesIO())
    SessionMiddleware(lambda _: HttpResponse()).process_request(request)
    if get_user(request).is_authenticated:
        return True
    try:
        return TokenAuthentication().authenticate(Request(request)) is not None
    except (APIException, Refused):
        return False
