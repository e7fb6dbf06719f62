"""Write rows at every annotation by statements that are written once, as `annotate.core.db.prepared` reads them.

Django puts an INSERT of twenty fields together anew for each row, which takes longer than the row, and Postgres plans
it anew. What is here is one row, checked by the caller: no signals, no reading back but of the id. A row that has an id
is inserted with it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Model

from annotate.core.db.prepared import Asked, ask, ask_at_commit, ask_with_next

M = TypeVar("M", bound=Model)


def insert(row: Model) -> Asked:
    """Return the INSERT of a new row; what comes back is the row with its id."""
    has_id = row.pk is not None
    return Asked(_insert_sql(type(row), "VALUES ({values})", has_id), _values(row, has_id), partial(_with_id, row))


def insert_at_commit(row: Model, *before: Asked) -> None:
    """Insert a row that has an id as the transaction ends, after statements whose rows nobody needs; see
    `ask_at_commit`."""
    for statement in (*before, insert(row)):
        ask_at_commit(statement)
    _with_id(row, [(row.pk,)])


def create(row: M) -> M:
    """Insert a new row, and return it with its id."""
    return ask(insert(row))[0][0]


def update_then_insert(update: Asked, row: Model, otherwise: Callable[[], object], *, with_next: bool = False) -> None:
    """Insert a row if the update, which returns something of each row that it changes, changed one; else insert
    nothing and call `otherwise`. One statement on Postgres; `with_next`, it goes there as `ask_with_next` says, and the
    row has its id from then on."""
    if connections[DEFAULT_DB_ALIAS].vendor != "postgresql":
        create(row) if ask(update)[0] else otherwise()
        return
    insert_sql = _insert_sql(type(row), "SELECT {values} FROM changed")
    parameters = [*update.parameters, *_values(row)]
    both = Asked(f"WITH changed AS ({update.sql}) {insert_sql}", parameters, partial(_with_id, row))

    def check(rows: list[Any]) -> None:
        if not rows:
            otherwise()

    ask_with_next(both, check) if with_next else check(ask(both)[0])


def _with_id(row: M, ids: list[tuple[Any, ...]]) -> list[M]:
    for (row.pk,) in ids:
        row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS
    return [row] if ids else []


@cache
def _insert_sql(model: type[Model], source: str, has_id: bool = False) -> str:
    quote = connections[DEFAULT_DB_ALIAS].ops.quote_name
    columns = [quote(str(field.column)) for field in _fields(model, has_id)]
    values = source.format(values=", ".join(["%s"] * len(columns)))
    table, key = quote(model._meta.db_table), quote(str(model._meta.pk.column))
    return f"INSERT INTO {table} ({', '.join(columns)}) {values} RETURNING {key}"


def _values(row: Model, has_id: bool = False) -> list[Any]:
    database = connections[DEFAULT_DB_ALIAS]
    fields = _fields(type(row), has_id)
    return [field.get_db_prep_save(field.pre_save(row, add=True), connection=database) for field in fields]


def _fields(model: type[Model], has_id: bool) -> list[Any]:
    return [field for field in model._meta.local_concrete_fields if has_id or not field.primary_key]
