"""Answer whoever watches this process, before Django does.

| address | 200 when | 503 means |
|---|---|---|
| `/livez` | the event loop turns | (no answer) start the process anew |
| `/readyz` | the database answers and has its tables | send people to another process |
| `/healthz` | all parts answer: Redis and the storage, too | somebody should look; people are served |

They answer whatever the host's name in the request, without HTTPS, and while all threads of requests wait for a
database that is gone. Each part is asked in a thread and given up after `PATIENCE`; what was found holds for a second,
whoever asks how often. No part says more than *ok* or why not in a word: anybody who reaches the process may ask.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from annotate.core.asgi.held_answers import HeldAnswer
from annotate.core.asgi.readiness import NEEDED, PARTS

PATIENCE = 3.0  # seconds
_HOLDS = 1.0  # seconds
_OK = "ok"
log = logging.getLogger("assay.health")


class Health:
    """An application for HTTP that answers these addresses, and leaves all others to `application`."""

    def __init__(
        self,
        application: Any,
        parts: Mapping[str, Callable[[], str]] = PARTS,
        needed: Iterable[str] = tuple(NEEDED),
    ) -> None:
        self._application = application
        self._parts = {name: _Part(name, ask) for name, ask in parts.items()}
        self._asked_by = {"/livez": (), "/readyz": tuple(needed), "/healthz": tuple(parts)}

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        names = self._asked_by.get(scope["path"].rstrip("/"))
        if names is None or scope["method"] not in ("GET", "HEAD"):
            await self._application(scope, receive, send)
            return
        states = dict(zip(names, await asyncio.gather(*(self._parts[name].state() for name in names)), strict=True))
        is_well = all(state == _OK for state in states.values())
        body = json.dumps({"status": _OK if is_well else "not ready", "parts": states}).encode()
        await _answer(send, 200 if is_well else 503, b"" if scope["method"] == "HEAD" else body)


class _Part:
    """What is asked at most once a second, by one thread at a time."""

    def __init__(self, name: str, ask: Callable[[], str]) -> None:
        self._name, self._held = name, HeldAnswer(ask, _HOLDS, "health")

    async def state(self) -> str:
        try:
            return await self._held.get(PATIENCE)
        except TimeoutError:
            log.warning("%s does not answer", self._name)
            return f"no answer within {PATIENCE:.0f} s"
        except Exception as error:
            log.warning("%s: %s", self._name, error)
            return "failed: the log has why"


async def _answer(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
