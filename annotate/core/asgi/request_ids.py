"""Give each request an id, which its log lines have and its answer returns as X-Request-ID.

A trusted proxy's id is kept, so that its lines and ours fit together. From anybody else the header is text of theirs.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import LazyObject, empty

from annotate.core.logs import context
from annotate.core.network import proxies

_HEADER = b"x-request-id"
_WELL_FORMED = re.compile(rb"[A-Za-z0-9._-]{8,64}")


class Identified:
    """An application for requests and websockets with an id."""

    def __init__(self, application: Any) -> None:
        self._application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        own_id = id_of(scope)

        async def send_with_id(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (_HEADER, own_id.encode())]}
            await send(message)

        with context.bound(request_id=own_id):
            await self._application(scope, receive, send_with_id)


def id_of(scope: dict[str, Any]) -> str:
    """Return the id that a trusted proxy sends, else a new one."""
    sent = dict(scope["headers"]).get(_HEADER, b"")
    peer = (scope.get("client") or ("",))[0] or ""
    if _WELL_FORMED.fullmatch(sent) and proxies.is_trusted(peer, settings.TRUSTED_PROXIES):
        return sent.decode()
    return uuid.uuid4().hex


def user_id(request: HttpRequest) -> int | None:
    """Return who asks where that is known already; a log line asks the database nothing."""
    user = request.__dict__.get("user")
    if isinstance(user, LazyObject) and user._wrapped is empty:
        return None
    return getattr(user, "pk", None)
