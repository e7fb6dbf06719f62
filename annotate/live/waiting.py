"""Waiting for a model within a request: bounded for each person, each address and in all, and in nobody's way.

A request runs in one of a few dozen places (config/handler.py). Whoever waits for a model gives its place to another
request meanwhile and takes one again afterwards; its thread sleeps. Counts are those of this process.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

from asgiref.sync import async_to_sync

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
    if not _enter(person, address):
        yield False
        return
    mine = place.get()
    if mine is not None:
        mine.release()
    try:
        yield True
    finally:
        _leave(person, address)
        if mine is not None:
            await mine.acquire()


@contextmanager
def aside_in_thread(person: str) -> Iterator[None]:
    """The same for a request whose thread asks a model itself. Raises TooMany where there is no room."""
    if not _enter(person, ""):
        raise TooMany(
            RETRY_SECONDS,
            text="Too many requests are waiting for answers just now, yours or everybody's. Nothing is lost: try again "
            f"in {RETRY_SECONDS} seconds.",
        )
    mine = place.get()
    try:
        if mine is not None:
            async_to_sync(_release)(mine)  # by its own event loop
        try:
            yield
        finally:
            if mine is not None:
                async_to_sync(mine.acquire)()
    finally:
        _leave(person, "")


async def _release(mine: asyncio.Semaphore) -> None:
    mine.release()


def _enter(person: str, address: str) -> bool:
    """Count one more, if there is room."""
    with _lock:
        has_room = _has_room(person, address)
        if has_room:
            _waiting.update({"", person, address})
    return has_room


def _leave(person: str, address: str) -> None:
    keys = {"", person, address}
    with _lock:
        _waiting.subtract(keys)
        for key in keys:
            if not _waiting[key]:
                del _waiting[key]


def _has_room(person: str, address: str) -> bool:
    bounds = {person: MOST_OF_ONE, address: MOST_OF_ADDRESS, "": MOST}
    return all(_waiting[key] < most for key, most in bounds.items())
