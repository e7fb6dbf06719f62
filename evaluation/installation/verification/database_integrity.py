"""Verify the database itself: its tables are those of this version, its pages whole, its numbers drawn high enough."""

from __future__ import annotations

from collections.abc import Iterator

from django.apps import apps
from django.db import connection
from django.db.models import AutoField, Max, Model

from annotate.core.db.unapplied_migrations import unapplied_migrations
from evaluation.installation.verification.faults import Fault, Look
from evaluation.models import VoteCursor

_NOT_DRAWN = (VoteCursor,)  # one row, of one number
_FROM_BACKUP = "Restore the last backup: manage.py restore BACKUP, with an empty database."


def check_migrations(look: Look) -> Iterator[Fault]:
    for migration in unapplied_migrations():
        yield Fault("database", migration, "is not applied.", "Apply it: manage.py migrate.")


def check_database(look: Look) -> Iterator[Fault]:
    look.say("the database")
    if connection.vendor == "sqlite":
        yield from _sqlite_faults(look)
    elif connection.vendor == "postgresql":
        yield from _sequence_faults()


def _sqlite_faults(look: Look) -> Iterator[Fault]:
    with connection.cursor() as cursor:
        for table, row_id, parent, _ in cursor.execute("PRAGMA foreign_key_check").fetchall():
            yield Fault(f"row {row_id}", table, f"points at a row of {parent} that is not there.", _FROM_BACKUP)
        if not look.is_quick:
            for (line,) in cursor.execute("PRAGMA integrity_check").fetchall():
                if line != "ok":
                    yield Fault("database", "SQLite's file", f"is damaged: {line}.", _FROM_BACKUP)


def _sequence_faults() -> Iterator[Fault]:
    """Yield tables whose next number is taken already, as after rows that were copied in with theirs."""
    remedy = "Set it: manage.py sqlsequencereset annotate training evaluation, sent to the database."
    for table in apps.get_models(include_auto_created=True):
        key = table._meta.pk
        if not isinstance(key, AutoField) or table in _NOT_DRAWN or table._meta.proxy or not table._meta.managed:
            continue
        highest = table._base_manager.aggregate(highest=Max("pk"))["highest"]
        if highest is not None and (last := _last_number(table, str(key.column))) is not None and last < highest:
            problem = f"has a row {highest}, and draws numbers from {last}."
            yield Fault(f"numbers of {table._meta.label}", table._meta.db_table, problem, remedy)


def _last_number(table: type[Model], column: str) -> int | None:
    with connection.cursor() as cursor:
        quoted = connection.ops.quote_name(table._meta.db_table)
        cursor.execute("SELECT pg_get_serial_sequence(%s, %s)", [quoted, column])
        (sequence,) = cursor.fetchone()
        if sequence is None:
            return None
        cursor.execute(f"SELECT last_value, is_called FROM {sequence}")
        last, is_called = cursor.fetchone()
        return last if is_called else last - 1
