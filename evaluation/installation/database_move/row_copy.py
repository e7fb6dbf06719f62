"""Copy the rows of one table, some thousands at a time, by Postgres' COPY, and add up what was copied."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from django.core.management.base import CommandError
from django.db import Error, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Field, JSONField, Model, QuerySet
from psycopg import Error as PostgresError

from evaluation.installation.database_move.row_sums import RowSum, sum_of

BATCH = 5_000
_READ_AT_ONCE = 2_000
_LINE = re.compile(r"line (\d+)")
Row = tuple[Any, ...]


def fields_of(table: type[Model]) -> list[Field[Any, Any]]:
    return [field for field in table._meta.local_concrete_fields if not field.generated]


def json_columns(table: type[Model]) -> list[bool]:
    return [isinstance(field, JSONField) for field in fields_of(table)]


def key_index(table: type[Model]) -> int:
    return [field.primary_key for field in fields_of(table)].index(True)


def rows_of(table: type[Model], using: str) -> Iterator[Row]:
    return _rows(table, using).order_by("pk").iterator(chunk_size=_READ_AT_ONCE)


def rows_by_key(table: type[Model], using: str, keys: Sequence[Any]) -> dict[Any, Row]:
    index = key_index(table)
    return {row[index]: row for row in _rows(table, using).filter(pk__in=keys)}


def _rows(table: type[Model], using: str) -> QuerySet[Any, Any]:
    return table._base_manager.using(using).order_by().values_list(*[field.attname for field in fields_of(table)])


def copy_rows(table: type[Model], target: BaseDatabaseWrapper) -> RowSum:
    """Copy all rows and return the sum of what was read. Raises CommandError that names a row that does not fit."""
    total, is_json = RowSum(), json_columns(table)
    rows = rows_of(table, connection.alias)
    while batch := list(islice(rows, BATCH)):
        _copy_batch(table, target, batch)
        for row in batch:
            total.add(row, is_json)
    return total


def sum_in(table: type[Model], using: str) -> RowSum:
    return sum_of(rows_of(table, using), json_columns(table))


def _copy_batch(table: type[Model], target: BaseDatabaseWrapper, batch: Sequence[Row]) -> None:
    fields = fields_of(table)
    columns = ", ".join(target.ops.quote_name(str(field.column)) for field in fields)
    statement = f"COPY {target.ops.quote_name(table._meta.db_table)} ({columns}) FROM STDIN"
    written = 0
    try:
        with target.cursor() as cursor, cursor.copy(statement) as copy:
            for row in batch:
                copy.write_row([_prepared(field, value, target) for field, value in zip(fields, row, strict=True)])
                written += 1
    except (Error, PostgresError, ValueError) as error:  # UnicodeEncodeError is a ValueError
        raise _misfit(table, batch, written, error) from error


def _prepared(field: Field[Any, Any], value: Any, target: BaseDatabaseWrapper) -> Any:
    if isinstance(field, JSONField) and value is None and not field.null:
        return target.ops.adapt_json_value(None, field.encoder)  # JSON's null, where the column has no other
    return field.get_db_prep_save(value, connection=target)


def _misfit(table: type[Model], batch: Sequence[Row], written: int, error: Exception) -> CommandError:
    """Return an error with the row that Postgres refused: by the line that it names, or the one that was not sent."""
    context = getattr(getattr(error, "diag", None), "context", None) or ""
    line = _LINE.search(context)
    index = int(line[1]) - 1 if line else min(written, len(batch) - 1)
    key = batch[index][key_index(table)]
    reason = str(error).strip().splitlines()[0]
    column = f" ({context.split(', column ')[1].split(':')[0]})" if ", column " in context else ""
    return CommandError(
        f"{table._meta.db_table}, row {key}{column}: Postgres does not take it: {reason}. Nothing was moved. Mend that "
        "row in the present database, and try again."
    )
