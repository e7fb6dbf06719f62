"""Measure waits for Postgres: for a connection of the pool, and for rows or projects that others have locked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.db.backends.postgresql import base

from annotate.core.db import interpreter_turns
from annotate.core.db.postgres import one_trip
from annotate.core.db.postgres.locking_statements import waits_for_locks
from annotate.core.metrics.counters import timed_wait

interpreter_turns.shorten()


class DatabaseWrapper(base.DatabaseWrapper):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.execute_wrappers.append(_timed_locks)
        self.at_commit: list[tuple[str, Sequence[Any]]] = []  # of the transaction: `prepared.ask_at_commit`

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a connection: of the pool where there is one, which has only so many."""
        with timed_wait("connection"):
            return super().get_new_connection(conn_params)

    def _commit(self) -> None:
        if not self.at_commit:
            super()._commit()  # type: ignore[misc]
            return
        statements, self.at_commit = self.at_commit, []
        with self.wrap_database_errors:
            one_trip.run(self.connection, statements, commits=True)

    def _rollback(self) -> None:
        self.at_commit = []
        super()._rollback()  # type: ignore[misc]

    def _close(self) -> None:
        self.at_commit = []
        super()._close()  # type: ignore[misc]


def _timed_locks(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Run a statement; measure it where it locks rows and waits for whoever has them."""
    if not isinstance(sql, str) or not waits_for_locks(sql):
        return execute(sql, params, many, context)
    with timed_wait("row_lock"):
        return execute(sql, params, many, context)
