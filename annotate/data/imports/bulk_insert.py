"""Insert many rows into one table fast: prepared once, sent by COPY on Postgres and by one statement on SQLite.

`bulk_create` builds an object and a piece of SQL for every row, which takes five times as long. Keys are drawn before
the rows are written, so that rows can point at each other without being read again. Call it inside a transaction.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from django.db import connection, models
from django.utils import timezone

from annotate.data.imports.copy_texts import copy_texts


def make_room() -> None:
    """Give SQLite more memory for its pages: 64 MB of them stay in memory, and 100 MB are written back at once.

    New rows hit pages all over its indexes by hash, so that each page is then written seldom.
    """
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA cache_size = -64000")
            cursor.execute("PRAGMA wal_autocheckpoint = 25000")


def new_ids(model: type[models.Model], n: int) -> list[int]:
    """Return `n` keys that nobody else will get. On SQLite the transaction must have begun: it is the only writer
    then."""
    table = model._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # In one text: thousands of rows of one number each take longer to come over than to be drawn.
            cursor.execute(
                "WITH from_ AS MATERIALIZED (SELECT pg_get_serial_sequence(%s, 'id')::regclass AS it) "
                "SELECT string_agg(nextval(it)::text, ',') FROM from_, generate_series(1, %s)",
                [f'"{table}"', n],
            )
            return list(map(int, cursor.fetchone()[0].split(",")))
        cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
        last = (cursor.fetchone() or (0,))[0]
    return list(range(last + 1, last + 1 + n))


def insert(
    model: type[models.Model], columns: Sequence[str], rows: Sequence[tuple[Any, ...]], **constants: Any
) -> None:
    """Insert rows. `rows` hold the values of `columns`; every other column has its constant, or the default of its
    field. A column whose default is NULL is left out."""
    if not rows:
        return
    other_columns = _defaults(model, tuple(columns), tuple(constants))
    now = connection.ops.adapt_datetimefield_value(timezone.now())
    fixed = tuple(constants.values()) + tuple(now if value is _NOW else value for _, value in other_columns)
    names = [*columns, *constants, *(name for name, _ in other_columns)]
    quoted = ", ".join(f'"{name}"' for name in names)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f'COPY "{model._meta.db_table}" ({quoted}) FROM STDIN') as copy:
                for text in copy_texts(rows, fixed):
                    copy.write(text)
            return
        placeholders = ", ".join(["%s"] * len(names))
        statement = f'INSERT INTO "{model._meta.db_table}" ({quoted}) VALUES ({placeholders})'
        cursor.executemany(statement, [row + fixed for row in rows])


def as_json(value: Any) -> str:
    """Return the value as a JSON column stores it."""
    return json.dumps(value)


_NOW = object()


@cache
def _defaults(model: type[models.Model], columns: tuple[str, ...], constants: tuple[str, ...]) -> list[tuple[str, Any]]:
    given_columns = {*columns, *constants}
    all_columns = {field.column for field in model._meta.concrete_fields}
    if unknown := given_columns - all_columns:
        raise ValueError(f"{model.__name__} has no columns {', '.join(sorted(unknown))}.")
    others = (f for f in model._meta.concrete_fields if f.column not in given_columns and not f.primary_key)
    return [(str(field.column), value) for field in others if (value := _default(field)) is not None]


def _default(field: Any) -> Any:
    if getattr(field, "auto_now_add", False):
        return _NOW
    value = field.get_default()
    if isinstance(field, models.JSONField):
        return None if value is None else as_json(value)
    return value
