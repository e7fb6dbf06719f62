"""Write rows at every annotation by statements that are written once, as `annotate.core.db.prepared` reads them.

Django puts an INSERT of twenty fields together anew for each row, which takes longer than the row, and Postgres plans
it anew. What is here is one row, checked by the caller: no signals, no reading back but of the id.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Model

from annotate.core.db.prepared import Asked, ask

M = TypeVar("M", bound=Model)


def insert(row: Model) -> Asked:
    """Return the INSERT of a new row; what comes back is the row with its id."""
    return Asked(_insert_sql(type(row), "VALUES ({values})"), _values(row), partial(_with_id, row))


def create(row: M) -> M:
    """Insert a new row, and return it with its id."""
    return ask(insert(row))[0][0]


def update_then_insert(update: Asked, row: M) -> M | None:
    """Insert a row if the update, which returns something of each row that it changes, changed one; else return None
    and insert nothing. One statement on Postgres."""
    database = connections[DEFAULT_DB_ALIAS]
    if database.vendor != "postgresql":
        return create(row) if ask(update)[0] else None
    insert_sql = _insert_sql(type(row), "SELECT {values} FROM changed")
    parameters = [*update.parameters, *_values(row)]
    rows = ask(Asked(f"WITH changed AS ({update.sql}) {insert_sql}", parameters, partial(_with_id, row)))[0]
    return rows[0] if rows else None


def _with_id(row: M, ids: list[tuple[Any, ...]]) -> list[M]:
    for (row.pk,) in ids:
        row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS
    return [row] if ids else []


@cache
def _insert_sql(model: type[Model], source: str) -> str:
    quote = connections[DEFAULT_DB_ALIAS].ops.quote_name
    columns = [quote(str(field.column)) for field in model._meta.local_concrete_fields if not field.primary_key]
    values = source.format(values=", ".join(["%s"] * len(columns)))
    table, key = quote(model._meta.db_table), quote(str(model._meta.pk.column))
    return f"INSERT INTO {table} ({', '.join(columns)}) {values} RETURNING {key}"


def _values(row: Model) -> list[Any]:
    database = connections[DEFAULT_DB_ALIAS]
    fields = [field for field in row._meta.local_concrete_fields if not field.primary_key]
    return [field.get_db_prep_save(field.pre_save(row, add=True), connection=database) for field in fields]
