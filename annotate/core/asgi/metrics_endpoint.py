"""Answer Prometheus at /metrics, before Django does: under any host name, without HTTPS, and while the database is
gone.

Who has the token may read (ASSAY_METRICS_TOKEN). Without one set, whoever asks from this machine itself may, and only
where the site is for this machine alone: behind a proxy here everybody seems to be here.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from annotate.core.asgi.held_answers import HeldAnswer
from annotate.core.metrics import exposition
from annotate.core.metrics.readings import HOLDS_SECONDS, Reading, read_all
from annotate.core.network.public_addresses import is_this_machine

ADDRESS = "/metrics"
PATIENCE = 3.0  # seconds for the database
_FORWARDED = {b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"via"}
_REFUSAL = (
    b"Send the header Authorization: Bearer TOKEN, where TOKEN is what the operator set as ASSAY_METRICS_TOKEN. "
    b"Without it metrics are for this machine alone.\n"
)
log = logging.getLogger("assay.metrics")


class Metrics:
    """An application for HTTP that answers /metrics, and leaves all other addresses to `application`."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._readings = HeldAnswer(read_all, HOLDS_SECONDS, "metrics")

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["path"].rstrip("/") != ADDRESS or scope["method"] not in ("GET", "HEAD"):
            await self._application(scope, receive, send)
            return
        if not may_read(scope):
            await _answer(send, 401 if settings.METRICS_TOKEN else 403, "text/plain; charset=utf-8", _REFUSAL)
            return
        text = await asyncio.to_thread(exposition.text_of, await self._read())
        await _answer(send, 200, exposition.CONTENT_TYPE, b"" if scope["method"] == "HEAD" else text)

    async def _read(self) -> list[Reading] | None:
        try:
            return await self._readings.get(PATIENCE)
        except Exception as error:
            log.warning("The database did not tell its metrics: %s", error or type(error).__name__)
            return None


def may_read(scope: dict[str, Any]) -> bool:
    """Return whether this request may read metrics."""
    headers = dict(scope["headers"])
    if settings.METRICS_TOKEN:
        expected = f"Bearer {settings.METRICS_TOKEN}".encode()
        return hmac.compare_digest(headers.get(b"authorization", b""), expected)
    names = ((scope.get("client") or ("",))[0], _host(headers), urlsplit(settings.SITE_URL).hostname or "")
    return not _FORWARDED & headers.keys() and all(is_this_machine(name) for name in names)


def _host(headers: dict[bytes, bytes]) -> str:
    try:
        return urlsplit(f"//{headers.get(b'host', b'').decode('latin-1')}").hostname or ""
    except ValueError:
        return ""


async def _answer(send: Any, status: int, kind: str, body: bytes) -> None:
    headers = [(b"content-type", kind.encode()), (b"cache-control", b"no-store")]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
