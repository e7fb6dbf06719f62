"""Tell whether anything in the database may have changed, for processes that look for work again and again.

One small statement says so, where the queries that find the work are dozens. It sees the commits of all processes. It
may see a change where there is none for the asker, never none where there is one.
"""

from __future__ import annotations

import time
from collections.abc import Hashable

from django.db import DEFAULT_DB_ALIAS, connections

from annotate.core.db.prepared import Asked, ask

LONGEST_REST = 10.0  # seconds; then one looks in any case, for what time alone makes due
_SNAPSHOT = Asked("SELECT pg_current_snapshot()::text", ())
_VERSION = Asked("PRAGMA data_version", ())


def data_state() -> Hashable:
    """Return a value that is equal to an earlier one only if this thread's connection sees the same data.

    On Postgres the snapshot: it names the first transaction that has not ended and all others under way, so that each
    end of one that wrote changes it. On SQLite the commits of other connections, and the rows that this one wrote.
    Within a transaction no two are equal.
    """
    database = connections[DEFAULT_DB_ALIAS]
    if database.in_atomic_block:
        return object()
    if database.vendor == "postgresql":
        return ask(_SNAPSHOT)[0][0]
    version = ask(_VERSION)[0][0]
    return version, database.connection, database.connection.total_changes


class DataWatch:
    """Let one who found nothing to do rest until something changes, `LONGEST_REST` at most."""

    def __init__(self) -> None:
        self._seen: Hashable = None
        self._until = 0.0

    def may_rest(self, state: Hashable) -> bool:
        """Return whether the data are as they were when nothing was found, a moment ago; if not, one looks now."""
        return self._seen == state and time.monotonic() < self._until

    def note_nothing(self, state: Hashable) -> None:
        """Note that a look found nothing to do which began in this state."""
        self._seen, self._until = state, time.monotonic() + LONGEST_REST

    def forget(self) -> None:
        """Look in any case next time."""
        self._until = 0.0
