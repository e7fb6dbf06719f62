"""Measure how long people wait for models' answers, and why some do not come."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx

from annotate.core.chat_api import refusals
from annotate.core.metrics.counters import MODEL_SERVER_ERRORS, MODEL_SERVER_FIRST_SECONDS, MODEL_SERVER_SECONDS


@contextmanager
def timed(endpoint: str) -> Iterator[None]:
    """Measure an answer that comes as a whole; `endpoint` is the model's, "" where the site's own server answers."""
    server, began = _server(endpoint), time.perf_counter()
    with _counted_errors(server):
        yield
        MODEL_SERVER_SECONDS.labels(server).observe(time.perf_counter() - began)


@asynccontextmanager
async def timed_stream(endpoint: str) -> AsyncIterator[Callable[[], None]]:
    """Measure an answer that comes in pieces; yield what is to be called at each. One that its reader ends is not
    measured as a whole."""
    server, began, is_begun = _server(endpoint), time.perf_counter(), False

    def note_piece() -> None:
        nonlocal is_begun
        if not is_begun:
            is_begun = True
            MODEL_SERVER_FIRST_SECONDS.labels(server).observe(time.perf_counter() - began)

    with _counted_errors(server):
        yield note_piece
        MODEL_SERVER_SECONDS.labels(server).observe(time.perf_counter() - began)


@contextmanager
def _counted_errors(server: str) -> Iterator[None]:
    """Count an answer that does not come: a fault of HTTP, or an error that has its kind."""
    try:
        yield
    except Exception as error:
        kind = refusals.kind_of_fault(error) if isinstance(error, httpx.HTTPError) else getattr(error, "kind", None)
        if isinstance(kind, refusals.Kind):
            MODEL_SERVER_ERRORS.labels(server, kind.value).inc()
        raise


def _server(endpoint: str) -> str:
    return "endpoint" if endpoint else "own"
