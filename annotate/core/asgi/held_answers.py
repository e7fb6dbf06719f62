"""Ask something slow once for all who want to know at the same time, in a thread, and hold the answer for a moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class HeldAnswer(Generic[T]):
    """What is asked at most every `holds` seconds, by one thread at a time."""

    def __init__(self, ask: Callable[[], T], holds: float, thread: str) -> None:
        self._ask, self._holds, self._thread = ask, holds, ThreadPoolExecutor(1, thread)
        self._pending: Future[T] | None = None
        self._asked_at = 0.0

    async def get(self, patience: float) -> T:
        """Return the answer. Raises TimeoutError after `patience` seconds, and what `ask` raised."""
        is_old = time.monotonic() >= self._asked_at + self._holds
        if self._pending is None or (self._pending.done() and is_old):
            self._pending = self._thread.submit(self._ask)
            self._asked_at = time.monotonic()
        return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(self._pending)), patience)
