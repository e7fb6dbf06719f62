"""Limit how many live pages may be open: for one browser, from one address and in this process.

What is above is refused before anything is read of the database.
"""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from typing import Any

from django.conf import settings

from annotate.core import visitors
from annotate.core.asgi.bounded_count import BoundedCount
from annotate.core.metrics.counters import WEBSOCKETS
from annotate.core.network import proxies

TRY_AGAIN_LATER = 1013  # RFC 6455's registry; htmx connects again, after longer and longer


class Bounded:
    """An application for websockets that limits how many are open."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self.sockets = BoundedCount(
            of_one=20,  # tabs of one browser
            of_network=300,  # a few classrooms
            most=1_000,
        )

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        session = _session(scope)
        browser = f"session {session}" if session else ""
        with self.sockets.counted(browser, visitors.networks_in(_client(scope))) as has_room:
            if has_room:
                with WEBSOCKETS.track_inprogress():
                    await self._application(scope, receive, send)
            else:
                await receive()
                await send({"type": "websocket.close", "code": TRY_AGAIN_LATER})


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
