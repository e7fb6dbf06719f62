"""Share among the live pages of a conversation: one question at a time over a socket, shown as it is answered."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Collection
from typing import Any

from django.template.loader import render_to_string

from annotate.core.asgi.socket_access import DeclaredConsumer

FRAME_SECONDS = 0.1  # a reader gets at most ten frames per second
GONE = 4404  # a code of our own: htmx reconnects only after accidents
log = logging.getLogger(__name__)


class ConversationConsumer(DeclaredConsumer, is_base=True):
    """Take what its page's form sends: a question, unless one is being answered; or `do: stop`.

    A subclass says whom it is for, answers, and shows how far the answers are.
    """

    page = ""  # the template whose partials are sent
    asking: asyncio.Task[None] | None = None
    writing: tuple[asyncio.Task[None], ...] = ()  # a task for each answer; cancelled, it keeps what it has
    is_stopping = False  # asked for, perhaps before the first answer is begun
    is_closed = False

    async def admits(self) -> bool:
        """Return whether this person may see it. Of anything else nothing is disclosed."""
        raise NotImplementedError

    async def answer(self, fields: dict[str, Any]) -> None:
        """Answer a question, and do all that follows from it."""
        raise NotImplementedError

    async def show(self) -> None:
        """Show what has changed since the last look."""
        raise NotImplementedError

    async def connect(self) -> None:
        await self.accept()
        self.is_admitted = await self.admits()
        if not self.is_admitted:
            await self.close(GONE)

    async def disconnect(self, code: int) -> None:
        self.is_closed = True
        self.stop()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            body = json.loads(text_data or "")
        except (ValueError, RecursionError):
            return
        if not isinstance(body, dict) or not self.is_admitted:
            return
        if body.get("do") == "stop":
            self.stop()
        elif self.asking is None or self.asking.done():
            self.is_stopping = False
            self.asking = asyncio.create_task(self._ask(body))

    def stop(self) -> None:
        self.is_stopping = True
        for task in self.writing:
            if not task.cancelling():  # a second press must not disturb the keeping of what is written
                task.cancel()

    async def show_until_over(self, writing: Collection[asyncio.Task[None]]) -> None:
        await asyncio.sleep(0)  # each begins: one that is cancelled before neither keeps nor says anything
        self.writing = tuple(writing)
        if self.is_stopping:  # somebody stopped it, or left, while the page was sent
            self.stop()
        while True:
            waiting = [task for task in self.writing if not task.done()]  # before looking: the last look misses nothing
            await self.show()
            if not waiting:
                return
            await asyncio.wait(waiting, timeout=FRAME_SECONDS)

    async def send_parts(self, *partials: str, **context: Any) -> None:
        if not self.is_closed:
            values = {"live": True, **context}
            await self.send("".join(render_to_string(f"{self.page}#{name}", values) for name in partials))

    async def _ask(self, fields: dict[str, Any]) -> None:
        try:
            await self.answer(fields)
        except Exception:  # the edge: a page that waits for ever tells nothing
            log.exception("a live conversation failed: %s", self.page)
            await self.send_parts(
                "problems", errors={"text": "The server failed. Try again; the server's log has the error."}
            )
