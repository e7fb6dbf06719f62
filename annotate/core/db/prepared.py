"""Prepare queries that run at every annotation, once.

Django writes a query's SQL anew whenever it runs, and for a small query that takes longer than the query itself. One
that differs from call to call in its values alone can keep what was written:

    _newest = Prepared(lambda: Guideline.objects.filter(project=Slot("project")).order_by("-version")[:1])
    _newest.rows(project=7)

On Postgres its plan is kept as well, by the connection: the server would take longer to plan it than to run it.
Values are compared as the database stores them: ids, texts, booleans and moments, not None and no lists.

What such queries cost is mostly the way to Postgres and back. Several that do not wait for each other's answers go
together, `ask(_newest.asked(project=7), …)`, and so do rows that are written (`annotate.core.db.prepared_writes`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
from functools import cache, partial
from types import SimpleNamespace
from typing import Any, NamedTuple

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Expression, QuerySet

from annotate.core.db.postgres.locking_statements import waits_for_locks
from annotate.core.metrics.counters import timed_wait


class Slot(Expression):
    """A place in a query for a value that each call gives."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        return "%s", (self,)


class _Written(NamedTuple):
    compiler: Any
    sql: str
    parameters: tuple[Any, ...]
    converters: dict[int, Any]  # from what the database gives to what Python is to see
    is_composite: bool
    rows: Callable[..., Any]  # Django's own way from the rows of this query to what the caller is to get


class Asked(NamedTuple):
    """A statement with its values, and what makes of its rows what the caller is to get; None where it has no rows."""

    sql: str
    parameters: Sequence[Any] | Mapping[str, Any]
    read: Callable[[list[tuple[Any, ...]]], list[Any]] | None = list

    def then(self, more: Callable[[list[Any]], list[Any]]) -> Asked:
        """Return the same statement, with `more` made of what it gives."""
        read = self.read or list
        return self._replace(read=lambda rows: more(read(rows)))


def ask(*statements: Asked) -> list[list[Any]]:
    """Run statements one after the other, on Postgres in one trip, and return the rows of each.

    Each sees what the ones before it have done. What one of them raises ends the transaction.
    """
    database: Any = connections[DEFAULT_DB_ALIAS]  # of this thread; the proxy would look it up at each access
    if database.vendor != "postgresql":
        return [_read(_executed(database, statement), statement) for statement in statements]
    database.ensure_connection()
    database.validate_no_broken_transaction()
    held, database.before_next = database.before_next, []
    sent = [*(statement for statement, _ in held), *statements]
    with database.wrap_database_errors:
        answers = _answers(database, sent)
    read = [_read(rows, statement) for rows, statement in zip(answers, sent, strict=True)]
    for (_, then), rows in zip(held, read, strict=False):
        then(rows)
    return read[len(held) :]


def ask_with_next(statement: Asked, then: Callable[[list[Any]], object]) -> None:
    """Run a statement before whatever this transaction runs next, on Postgres in one trip with what is asked next.
    `then` gets its rows before anybody gets more; what one of the two raises, whoever asks next gets."""
    database: Any = connections[DEFAULT_DB_ALIAS]
    if _can_wait(database):
        database.before_next.append((statement, then))
        database.run_before_next = ask
    else:
        then(ask(statement)[0])


def ask_at_commit(statement: Asked) -> None:
    """Run a statement whose rows nobody needs as the last one of the transaction, on Postgres in one trip with the
    COMMIT, which then raises what it raises."""
    database: Any = connections[DEFAULT_DB_ALIAS]
    if _can_wait(database):
        database.at_commit.append(_sent(statement))
    else:
        ask(statement)


class Prepared:
    """A query that `build` makes, with slots in it; it is built once, when it is first needed."""

    def __init__(self, build: Callable[[], QuerySet]) -> None:
        self._build = build
        self._written: _Written | None = None

    def asked(self, **values: Any) -> Asked:
        prepared = self._written = self._written or self._write()
        parameters = [stored(values[p.name]) if isinstance(p, Slot) else p for p in prepared.parameters]
        return Asked(prepared.sql, parameters, partial(_as_django_reads, prepared))

    def rows(self, **values: Any) -> list[Any]:
        """Return what the query's own iteration gives: instances, or tuples after `values_list`."""
        return ask(self.asked(**values))[0]

    def first(self, **values: Any) -> Any | None:
        rows = self.rows(**values)
        return rows[0] if rows else None

    def _write(self) -> _Written:
        queryset = self._build()
        compiler = queryset.query.get_compiler(DEFAULT_DB_ALIAS)
        sql, parameters = compiler.as_sql()
        columns = [column for column, *_ in compiler.select[: compiler.col_count]]
        converters, is_composite = compiler.get_converters(columns), compiler.has_composite_fields(columns)
        return _Written(compiler, sql, tuple(parameters), converters, is_composite, queryset._iterable_class)


def _as_django_reads(prepared: _Written, rows: list[tuple[Any, ...]]) -> list[Any]:
    if not rows:
        return []
    compiler = object.__new__(type(prepared.compiler))  # as copy.copy would, in a third of the time
    compiler.__dict__ |= prepared.compiler.__dict__ | {
        "connection": connections[DEFAULT_DB_ALIAS],
        "execute_sql": lambda *_, **__: [rows],
        "get_converters": lambda _: prepared.converters,
        "has_composite_fields": lambda _: prepared.is_composite,
    }
    query = SimpleNamespace(get_compiler=lambda *_, **__: compiler)
    return list(prepared.rows(SimpleNamespace(db=DEFAULT_DB_ALIAS, query=query, _known_related_objects={})))


def _answers(database: Any, statements: Sequence[Asked]) -> list[list[tuple[Any, ...]]]:
    """Return the rows of each statement from Postgres, with its values sent apart from its text: Django's own cursor
    writes them into it, a new statement each time.

    Django's layers around a cursor cost as much as sending does: they are there when somebody counts statements.
    """
    from annotate.core.db.postgres import one_trip

    sent = [_sent(statement) for statement in statements]
    if _is_watched(database):
        return [_executed_in_sight(database, *each) for each in sent]
    is_locking = any(_numbered(statement.sql)[2] for statement in statements)
    with timed_wait("row_lock") if is_locking else nullcontext():
        return one_trip.run(database.connection, sent)


def _can_wait(database: Any) -> bool:
    """Return whether a statement can wait for a later one of its transaction. Raises TransactionManagementError where
    that is broken: after a lost connection it ends without a rollback, and what waits would go with the next one."""
    if database.vendor != "postgresql" or not _is_outermost(database) or _is_watched(database):
        return False
    database.validate_no_broken_transaction()
    return True


def _is_outermost(database: Any) -> bool:
    """Return whether a transaction is under way that has no parts. What Django's tests begin is never committed, as
    Django's own `durable` knows."""
    return [block._from_testcase for block in database.atomic_blocks] == [False]


def _is_watched(database: Any) -> bool:
    return database.queries_logged or len(database.execute_wrappers) > 1


def _sent(statement: Asked) -> tuple[str, Sequence[Any]]:
    """Return the statement as Postgres gets it, with its values in order."""
    sql, names, _ = _numbered(statement.sql)
    parameters = statement.parameters
    return sql, [parameters[name] for name in names] if isinstance(parameters, Mapping) else parameters


def _executed_in_sight(database: Any, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Run a statement through what Django and others have put around cursors."""
    import psycopg

    with database._prepare_cursor(psycopg.RawCursor(database.connection)) as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall() if cursor.description else []


def _executed(database: Any, statement: Asked) -> list[tuple[Any, ...]]:
    with database.cursor() as cursor:
        cursor.execute(statement.sql, statement.parameters)
        return cursor.fetchall() if statement.read else []


@cache
def _numbered(sql: str) -> tuple[str, list[str], bool]:
    """Return a statement with $1, $2, … in the places of %s or %(name)s, the names in this order, and whether it may
    wait for a lock."""
    names: list[str] = []
    n_places = 0

    def number(match: re.Match[str]) -> str:
        nonlocal n_places
        if match[0] == "%%":
            return "%"
        if (name := match[1]) is None:
            n_places += 1
            return f"${n_places}"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return re.sub(r"%%|%s|%\((\w+)\)s", number, sql), names, waits_for_locks(sql)


def _read(rows: list[tuple[Any, ...]], statement: Asked) -> list[Any]:
    return statement.read(rows) if statement.read else []


def stored(value: Any) -> Any:
    """Return a value as the database compares it."""
    if not isinstance(value, datetime):
        return value
    return connections[DEFAULT_DB_ALIAS].ops.adapt_datetimefield_value(value)
