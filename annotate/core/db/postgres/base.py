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
        self.execute_wrappers.append(_in_turn)
        self.before_next: list[Any] = []  # of the transaction: `prepared.ask_with_next`, which says what runs them
        self.run_before_next: Callable[[], object] = list
        self.at_commit: list[tuple[str, Sequence[Any]]] = []  # … and `prepared.ask_at_commit`

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a connection: of the pool where there is one, which has only so many."""
        with timed_wait("connection"):
            return super().get_new_connection(conn_params)

    def _cursor(self, name: str | None = None) -> Any:
        _run_what_is_held(self)  # a COPY does not go by `_in_turn`
        return super()._cursor(name)  # type: ignore[misc]

    def _commit(self) -> None:
        try:
            _run_what_is_held(self)
        except BaseException:  # Django rolls back by itself where the database has refused
            self.rollback()  # what was to follow the commit is dropped, too
            raise
        if not self.at_commit:
            super()._commit()  # type: ignore[misc]
            return
        statements, self.at_commit = self.at_commit, []
        with self.wrap_database_errors:
            one_trip.run(self.connection, statements, commits=True)

    def _rollback(self) -> None:
        self.before_next, self.at_commit = [], []
        super()._rollback()  # type: ignore[misc]

    def _close(self) -> None:
        self.before_next, self.at_commit = [], []
        super()._close()  # type: ignore[misc]


def _in_turn(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Run a statement behind those held for it; measure it where it locks rows and waits for whoever has them."""
    _run_what_is_held(context["connection"])
    if not isinstance(sql, str) or not waits_for_locks(sql):
        return execute(sql, params, many, context)
    with timed_wait("row_lock"):
        return execute(sql, params, many, context)


def _run_what_is_held(database: Any) -> None:
    if database.before_next:
        database.run_before_next()
