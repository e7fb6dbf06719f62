"""Waiting for a model within a request: bounded for each person, each address and in all, and in nobody's way.

A request runs in one of a few dozen places (annotate/core/asgi/handler.py). Whoever waits for a model gives its place
to another request meanwhile and takes one again afterwards; its thread sleeps. Counts are those of this process.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

from asgiref.sync import async_to_sync

from annotate.core.errors import TooMany

MOST_OF_ONE = 8  # battles that one person waits for at once
MOST_OF_ADDRESS = 100  # a few classrooms
MOST = 250
Networks = Sequence[tuple[str, int]]  # as `visitors.networks_of` has them
RETRY_SECONDS = 5
place: ContextVar[asyncio.Semaphore | None] = ContextVar("place", default=None)  # set by annotate/core/asgi/handler.py
_waiting: Counter[str] = Counter()  # "" counts all
_lock = threading.Lock()


def require_room(person: str, networks: Networks = ()) -> None:
    """Raises TooMany while so many wait that no more may. To be called before anything is written."""
    with _lock:
        has_room = _has_room(_bounds(person, networks))
    if not has_room:
        raise TooMany(
            RETRY_SECONDS,
            wait="Too many requests are waiting for answers just now, yours or everybody's. Nothing is lost: look "
            f"again in {RETRY_SECONDS} seconds, or send wait=0 and read the battle later.",
        )


@asynccontextmanager
async def aside(person: str, networks: Networks = ()) -> AsyncGenerator[bool]:
    """Within it others have this request's place; False where there is no room, so that it should not wait."""
    bounds = _bounds(person, networks)
    if not _enter(bounds):
        yield False
        return
    mine = place.get()
    if mine is not None:
        mine.release()
    try:
        yield True
    finally:
        _leave(bounds)
        if mine is not None:
            await mine.acquire()


@contextmanager
def aside_in_thread(person: str) -> Iterator[None]:
    """The same for a request whose thread asks a model itself. Raises TooMany where there is no room."""
    bounds = _bounds(person, ())
    if not _enter(bounds):
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
        _leave(bounds)


async def _release(mine: asyncio.Semaphore) -> None:
    mine.release()


def _bounds(person: str, networks: Networks) -> dict[str, int]:
    """How many may wait at most, by what they are counted. One subscriber with many networks never has all places."""
    of_networks = {network: min(MOST_OF_ADDRESS * factor, MOST // 2) for network, factor in networks}
    return {**of_networks, person: MOST_OF_ONE, "": MOST}


def _enter(bounds: dict[str, int]) -> bool:
    """Count one more, if there is room."""
    with _lock:
        has_room = _has_room(bounds)
        if has_room:
            _waiting.update(bounds.keys())
    return has_room


def _leave(bounds: dict[str, int]) -> None:
    with _lock:
        _waiting.subtract(bounds.keys())
        for key in bounds:
            if not _waiting[key]:
                del _waiting[key]


def _has_room(bounds: dict[str, int]) -> bool:
    return all(_waiting[key] < most for key, most in bounds.items())
