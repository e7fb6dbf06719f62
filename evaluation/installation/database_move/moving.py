"""Move an installation's rows to Postgres: copy, compare, set the next numbers, and only then let them be seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.core.management.base import CommandError
from django.core.management.color import no_style
from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from evaluation.installation.database_move.row_copy import (
    copy_rows,
    fields_of,
    json_columns,
    key_index,
    rows_by_key,
    rows_of,
    sum_in,
)
from evaluation.installation.database_move.row_sums import RowSum, canonical
from evaluation.installation.database_move.target_database import ALIAS, MIGRATIONS, tables

_COMPARED_AT_ONCE = 500  # rows


@dataclass(frozen=True)
class ForeignKey:
    table: str
    name: str
    definition: str


def move(target: BaseDatabaseWrapper, report: Callable[[str, RowSum], None], say: Callable[[str], None]) -> None:
    """Copy all tables into the empty target, and compare each. Raises CommandError, and then the target is empty.

    Nobody writes to the present database meanwhile: on SQLite this holds its write lock, on Postgres it reads one
    snapshot.
    """
    with transaction.atomic(), transaction.atomic(using=ALIAS):
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        with target.cursor() as cursor:
            names = ", ".join(target.ops.quote_name(table._meta.db_table) for table in tables())
            cursor.execute(f"TRUNCATE {names}")
        links = _foreign_keys(target)
        _drop(target, links)  # and check them once, at the end: not row by row
        for table in tables():
            say(f"copying {table._meta.db_table}")
            copied = copy_rows(table, target)
            say(f"comparing {table._meta.db_table}")
            if sum_in(table, ALIAS) != copied:
                raise CommandError(f"{_first_difference(table)} Nothing was moved.")
            report(table._meta.db_table, copied)
        say("links between tables")
        _add(target, links)
        with target.cursor() as cursor:
            for statement in target.ops.sequence_reset_sql(no_style(), tables()):
                cursor.execute(statement)
    with target.cursor() as cursor:
        cursor.execute("ANALYZE")


def _foreign_keys(target: BaseDatabaseWrapper) -> list[ForeignKey]:
    with target.cursor() as cursor:
        cursor.execute(
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE contype = 'f' AND connamespace = current_schema()::regnamespace AND conrelid::regclass::text <> %s",
            [MIGRATIONS],
        )
        return [ForeignKey(*row) for row in cursor.fetchall()]


def _drop(target: BaseDatabaseWrapper, links: list[ForeignKey]) -> None:
    with target.cursor() as cursor:
        for link in links:
            cursor.execute(f"ALTER TABLE {link.table} DROP CONSTRAINT {target.ops.quote_name(link.name)}")


def _add(target: BaseDatabaseWrapper, links: list[ForeignKey]) -> None:
    with target.cursor() as cursor:
        for link in links:
            try:
                name = target.ops.quote_name(link.name)
                cursor.execute(f"ALTER TABLE {link.table} ADD CONSTRAINT {name} {link.definition}")
            except Exception as error:
                raise CommandError(
                    f"{link.table} points at rows that are not there: {str(error).strip()} Nothing was moved. "
                    "manage.py verify names such rows."
                ) from error


def _first_difference(table: type[Model]) -> str:
    """Name the first row that differs, and its column."""
    fields, is_json, index = fields_of(table), json_columns(table), key_index(table)
    name, rows = table._meta.db_table, rows_of(table, connection.alias)
    while batch := list(islice(rows, _COMPARED_AT_ONCE)):
        there = rows_by_key(table, ALIAS, [row[index] for row in batch])
        for row in batch:
            if (other := there.get(row[index])) is None:
                return f"{name}, row {row[index]}: it is not in the target."
            for field, as_json, one, two in zip(fields, is_json, row, other, strict=True):
                if canonical(one, as_json) != canonical(two, as_json):
                    return f"{name}, row {row[index]}: {_described(field, one, two)}"
    return f"{name}: the target has more rows."


def _described(field: Any, here: Any, there: Any) -> str:
    return f"{field.column} is {here!r:.80} here, and {there!r:.80} in the target."
