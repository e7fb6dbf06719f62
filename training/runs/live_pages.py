"""Keep pages live: render their own parts again, and send them to htmx whenever the database changes.

The database is the truth. A consumer remembers only what it sent last; after a reconnect the page says which row of
the figures it has (`?after=sequence.id`) and gets what came since. A short timer wakes it, or the channel layer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any
from urllib.parse import parse_qs

from django.conf import settings

from annotate.core.asgi.database_threads import in_thread
from annotate.core.asgi.socket_access import DeclaredConsumer

_TIMER_SECONDS = 1.0
_SLOW_TIMER_SECONDS = 10.0  # with a channel layer: only the clock on the page needs it
_REFUSED = 4403
_ACCIDENT = 1011  # after which htmx connects again
log = logging.getLogger(__name__)


class LivePage(DeclaredConsumer, is_base=True):
    """Send what `updates` yields, now and each time it is woken, until `is_over`."""

    group = ""
    seconds = _TIMER_SECONDS  # between two looks at the database, without a channel layer

    async def connect(self) -> None:
        query = parse_qs(self.scope["query_string"].decode())
        self.query = {name: values[-1] for name, values in query.items()}
        if not await in_thread(self.open)():
            await self.accept()
            await self.close(_REFUSED)
            return
        await self.accept()
        self._woken = asyncio.Event()
        if settings.CHANNEL_LAYERS and self.group:
            await self.channel_layer.group_add(self.group, self.channel_name)
        self._task = asyncio.create_task(self._keep_sending())

    async def disconnect(self, code: int) -> None:
        if task := getattr(self, "_task", None):
            task.cancel()
        if settings.CHANNEL_LAYERS and self.group and hasattr(self, "_task"):
            await self.channel_layer.group_discard(self.group, self.channel_name)

    async def run_changed(self, event: dict[str, Any]) -> None:
        """Handle the worker's message from the channel layer."""
        self._woken.set()

    async def _keep_sending(self) -> None:
        try:
            await self._send_updates()
        except Exception:  # the edge: a page whose socket stays open and silent would stand still for ever
            log.exception("a live page failed")
            await self.close(_ACCIDENT)

    async def _send_updates(self) -> None:
        timer = _SLOW_TIMER_SECONDS if settings.CHANNEL_LAYERS and self.group else self.seconds
        while True:
            html, is_over = await in_thread(self.updates)()
            if html:
                await self.send(text_data=html)
            if is_over:
                await self.close(1000)  # a normal end: the page does not connect again
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timer):  # wait_for loses a cancellation in Python 3.11
                    await self._woken.wait()
            self._woken.clear()

    def open(self) -> bool:
        """Find what the page shows; False when this person may not see it."""
        raise NotImplementedError

    def updates(self) -> tuple[str, bool]:
        """Return what changed since the last call, as HTML, and whether nothing more will come."""
        raise NotImplementedError
