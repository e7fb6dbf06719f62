"""Wait for a model within a request: bounded for each person, each address and in all.

A request runs in one of a few dozen places (annotate/core/asgi/handler.py). Whoever waits for a model gives its place
to another request meanwhile and takes one again afterwards; its thread sleeps. Counts are those of this process.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from contextvars import ContextVar

from asgiref.sync import async_to_sync

from annotate.core.asgi.bounded_count import BoundedCount
from annotate.core.asgi.places import Place
from annotate.core.errors import TooMany
from annotate.core.metrics.counters import WAITING_FOR_MODELS
from annotate.core.visitors import Networks

MOST = 250
RETRY_SECONDS = 5
place: ContextVar[Place | None] = ContextVar("place", default=None)  # set by annotate/core/asgi/handler.py
waits = BoundedCount(
    of_one=8,  # battles that one person waits for at once
    of_network=100,  # a few classrooms
    most=MOST,
)


def require_room(person: str, networks: Networks = ()) -> None:
    """Raise TooMany while too many wait. Call it before anything is written."""
    if not waits.has_room(person, networks):
        raise TooMany(
            RETRY_SECONDS,
            wait="Too many requests are waiting for answers now, from you or from everybody. Nothing is lost: look "
            f"again in {RETRY_SECONDS} seconds, or send wait=0 and read the battle later.",
        )


@asynccontextmanager
async def aside(person: str, networks: Networks = ()) -> AsyncGenerator[bool]:
    """Give this request's place to others within the block; yield False where there is no room, so that it should not
    wait."""
    own, has_room = place.get(), False
    try:
        with waits.counted(person, networks) as has_room, _counted(has_room):
            if own is not None and has_room:
                own.release()
            yield has_room
    finally:
        if own is not None and has_room:
            await own.acquire()


@contextmanager
def aside_in_thread(person: str) -> Iterator[None]:
    """Do the same for a request whose thread asks a model itself. Raises TooMany where there is no room."""
    with waits.counted(person) as has_room, _counted(has_room):
        if not has_room:
            raise TooMany(
                RETRY_SECONDS,
                text="Too many requests are waiting for answers now, from you or from everybody. Nothing is lost: try "
                f"again in {RETRY_SECONDS} seconds.",
            )
        own = place.get()
        if own is not None:
            async_to_sync(_release)(own)  # by its own event loop
        try:
            yield
        finally:
            if own is not None:
                async_to_sync(own.acquire)()


def _counted(has_room: bool) -> AbstractContextManager[object]:
    return WAITING_FOR_MODELS.track_inprogress() if has_room else nullcontext()


async def _release(own: Place) -> None:
    own.release()
