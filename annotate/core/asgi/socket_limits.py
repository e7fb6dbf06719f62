"""How many live pages may be open: for one browser, from one address and in this process.

What is above is refused before anything is read of the database.
"""

from __future__ import annotations

from collections import Counter
from http.cookies import CookieError, SimpleCookie
from typing import Any

from django.conf import settings

from annotate.core import proxies, visitors

MOST_OF_ONE = 20  # tabs of one browser
MOST_OF_ADDRESS = 300  # a few classrooms
MOST = 1_000
TRY_AGAIN_LATER = 1013  # RFC 6455's registry; htmx connects again, after longer and longer


class Bounded:
    """In front of an application for websockets."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        bounds = {"": MOST}
        client = _client(scope)
        if address := visitors.network_in(client):
            bounds[f"address {address}"] = MOST_OF_ADDRESS
        for wider, factor in visitors.wider_in(client):
            bounds[f"address {wider}"] = min(MOST_OF_ADDRESS * factor, MOST // 2)  # one subscriber never has all
        if session := _session(scope):
            bounds[f"session {session}"] = MOST_OF_ONE
        if any(self._open[key] >= most for key, most in bounds.items()):
            await receive()
            await send({"type": "websocket.close", "code": TRY_AGAIN_LATER})
            return
        self._open.update(bounds.keys())
        try:
            await self._application(scope, receive, send)
        finally:
            self._open.subtract(bounds.keys())
            self._open = +self._open


def _header(scope: dict[str, Any], name: bytes) -> str:
    return b",".join(value for key, value in scope["headers"] if key == name).decode("latin-1")


def _client(scope: dict[str, Any]) -> str:
    peer = scope.get("client") or ("",)
    forwarded = _header(scope, b"x-forwarded-for")
    return proxies.client_of(peer[0] or "", forwarded, settings.TRUSTED_PROXIES)


def _session(scope: dict[str, Any]) -> str:
    try:
        cookies = SimpleCookie(_header(scope, b"cookie"))
    except CookieError:
        return ""
    return cookies[settings.SESSION_COOKIE_NAME].value if settings.SESSION_COOKIE_NAME in cookies else ""
