"""Give connections back while somebody waits for something else, and name who writes over them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from datetime import UTC, datetime

from django.db import InterfaceError, OperationalError, connection, transaction

AWAY = (OperationalError, InterfaceError)  # raised by all queries while the database cannot be reached
_writer: ContextVar[str] = ContextVar("writer", default="")


@contextmanager
def written_by(name: str) -> Iterator[None]:
    """Name what happens inside, for the log of slow writes: `POST /p/tea/settings/`, `task imports`."""
    previous = _writer.set(name)
    try:
        yield
    finally:
        _writer.reset(previous)


def writer() -> str:
    """Return who writes now: the request or periodic task under way, else the command line of this process."""
    return _writer.get() or " ".join([sys.argv[0].rpartition("/")[2], *sys.argv[1:3]]).strip()


def database_now() -> datetime:
    """Return the database's time, by which leases are given and run out: clocks of two machines may differ by minutes.

    It is of this statement and not of the transaction, which may have begun long ago.
    """
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT statement_timestamp()")
            return cursor.fetchone()[0]
        cursor.execute("SELECT strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')", [])
        return datetime.fromisoformat(cursor.fetchone()[0]).replace(tzinfo=UTC)


def within_transaction() -> AbstractContextManager:
    """Begin a transaction, unless the caller has: for what is refused before anything was written, or ends the caller's
    transaction, so that it needs no savepoint."""
    return nullcontext() if connection.in_atomic_block else transaction.atomic()


def give_back() -> None:
    """Give the connection back before a wait of seconds, such as for a model: Postgres has only a few for all requests.

    The next query takes one again. Within a transaction it does nothing.
    """
    if not connection.in_atomic_block:
        connection.close()
