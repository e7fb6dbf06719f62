"""Bound the requests to a model's endpoint that are under way in this process by its concurrency.

Of one process. A run that samples in bulk keeps to the same number by itself, so that people who wait for an answer
wait for no run.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from annotate.models import LanguageModel

_WAIT_SECONDS = 0.05
_taken: Counter[int] = Counter()
_lock = threading.Lock()


class Full(Exception):
    """Raised when no slot became free in time."""


@contextmanager
def slot(model: LanguageModel, patience: float) -> Iterator[None]:
    """Hold one of the model's slots; one without an endpoint needs none. Raises Full after `patience` seconds."""
    if not model.endpoint:
        yield
        return
    until = time.monotonic() + patience
    while not _take(model):
        if time.monotonic() > until:
            raise Full
        time.sleep(_WAIT_SECONDS)
    try:
        yield
    finally:
        _give(model)


@asynccontextmanager
async def async_slot(model: LanguageModel, patience: float) -> AsyncIterator[None]:
    """Hold a slot as `slot` does, without keeping the event loop."""
    if not model.endpoint:
        yield
        return
    until = time.monotonic() + patience
    while not _take(model):
        if time.monotonic() > until:
            raise Full
        await asyncio.sleep(_WAIT_SECONDS)
    try:
        yield
    finally:
        _give(model)


def _take(model: LanguageModel) -> bool:
    with _lock:
        if _taken[model.pk] >= max(1, model.concurrency):
            return False
        _taken[model.pk] += 1
        return True


def _give(model: LanguageModel) -> None:
    with _lock:
        _taken[model.pk] -= 1
        if not _taken[model.pk]:
            del _taken[model.pk]
