"""The worker's connection to its database: what it waits for, and for how long."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import InterfaceError, InternalError, OperationalError, connection

# The database is locked, restarting, unreachable, or (InternalError) takes no writes after a failover: wait for it.
AWAY = (OperationalError, InterfaceError, InternalError)


def bound_statements(connection: Any, **_: Any) -> None:
    """Bound statements: none of the worker's, and no pause inside a transaction, takes longer than a third of a lease.

    Postgres ends it, and the worker goes on. Of a worker that was cut off inside a transaction Postgres would else keep
    the locks for hours: nobody could take over its runs.
    """
    if connection.vendor == "postgresql":
        most = int(1000 * settings.RUN_LEASE_SECONDS / 3)
        with connection.cursor() as cursor:
            cursor.execute(f"SET statement_timeout = {most}; SET idle_in_transaction_session_timeout = {most}")


def close_broken_connection() -> None:
    """Close this thread's connection where it is broken: the next query opens another. One that works is kept from
    round to round, as opening one costs more than a round's queries."""
    connection.close_at = None  # no age is too great for it
    connection.close_if_unusable_or_obsolete()
