"""Waiting for a model within a request: bounded for each person, each address and in all, and in nobody's way.

A request runs in one of a few dozen places (config/handler.py). Whoever waits for a model gives its place to another
request meanwhile and takes one again afterwards; its thread sleeps. Counts are those of this process.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from annotate.errors import TooMany

MOST_OF_ONE = 8  # battles that one person waits for at once
MOST_OF_ADDRESS = 100  # a few classrooms
MOST = 250
RETRY_SECONDS = 5
place: ContextVar[asyncio.Semaphore | None] = ContextVar("place", default=None)  # set by config/handler.py
_waiting: Counter[str] = Counter()  # "" counts all
_lock = threading.Lock()


def require_room(person: str, address: str) -> None:
    """Raises TooMany while so many wait that no more may. To be called before anything is written."""
    if not _has_room(person, address):
        raise TooMany(
            RETRY_SECONDS,
            wait="Too many requests are waiting for answers just now, yours or everybody's. Nothing is lost: look "
            f"again in {RETRY_SECONDS} seconds, or send wait=0 and read the battle later.",
        )


@asynccontextmanager
async def aside(person: str, address: str) -> AsyncGenerator[bool]:
    """Within it others have this request's place; False where there is no room, so that it should not wait."""
    keys = {"", person, address}
    with _lock:
        has_room = _has_room(person, address)
        if has_room:
            _waiting.update(keys)
    if not has_room:
        yield False
        return
    mine = place.get()
    if mine is not None:
        mine.release()
    try:
        yield True
    finally:
        with _lock:
            _waiting.subtract(keys)
            for key in keys:
                if not _waiting[key]:
                    del _waiting[key]
        if mine is not None:
            await mine.acquire()


def _has_room(person: str, address: str) -> bool:
    bounds = {person: MOST_OF_ONE, address: MOST_OF_ADDRESS, "": MOST}
    return all(_waiting[key] < most for key, most in bounds.items())
