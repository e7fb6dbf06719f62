"""Run database work of live pages in a few threads of their own, whatever the number of open sockets.

Requests have theirs (annotate/core/asgi/handler.py): five hundred sockets that look for news leave judging its threads.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from channels.db import database_sync_to_async
from django.db import connection

THREADS = 4
CONNECTION_SECONDS = 60
P = ParamSpec("P")
R = TypeVar("R")


def keep_connection() -> None:
    """Keep the thread's connection open: opening one costs a tenth of an annotation. Postgres has a pool for all
    threads."""
    if "pool" not in connection.settings_dict["OPTIONS"]:
        connection.settings_dict = {**connection.settings_dict, "CONN_MAX_AGE": CONNECTION_SECONDS}


_threads = ThreadPoolExecutor(THREADS, "live", initializer=keep_connection)


def in_thread(function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Return an awaitable form of `function`, which runs in one of these threads."""
    return database_sync_to_async(function, thread_sensitive=False, executor=_threads)
