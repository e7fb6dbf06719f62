"""Connections to the database: given back while somebody waits for something else, and who writes over them now."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.db import connection

_writer: ContextVar[str] = ContextVar("writer", default="")


@contextmanager
def written_by(name: str) -> Iterator[None]:
    """Name what happens inside, for the log of slow writes: `POST /p/tea/settings/`, `chore imports`."""
    before = _writer.set(name)
    try:
        yield
    finally:
        _writer.reset(before)


def writer() -> str:
    """Who writes now: the request or chore under way, else the command line of this process."""
    return _writer.get() or " ".join([sys.argv[0].rpartition("/")[2], *sys.argv[1:3]]).strip()


def give_back() -> None:
    """Before a wait of seconds, such as for a model: on Postgres there are only a few connections for all requests.

    The next query takes one again. Within a transaction it does nothing.
    """
    if not connection.in_atomic_block:
        connection.close()
