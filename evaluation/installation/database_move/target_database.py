"""Open the database that rows are moved to, and see that it is empty and has the tables of this version."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import dj_database_url
from django.apps import apps
from django.conf import settings
from django.core.management.base import CommandError
from django.db import Error, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Model

from annotate.core.db.unapplied_migrations import unapplied_migrations

ALIAS = "move_target"
MIGRATIONS = "django_migrations"
_FORM = "postgres://user:password@host/name."
# What every migrated database has rows of by itself; ours replace them, with their ids.
_BY_ITSELF = {"django_content_type", "auth_permission"}


@contextmanager
def opened(url: str) -> Iterator[BaseDatabaseWrapper]:
    """Give a connection to the Postgres database of a URL. Raises CommandError."""
    try:
        parsed = dj_database_url.parse(url)
    except (ValueError, KeyError) as error:
        raise CommandError(f"That is no address of a database ({error}): {_FORM}") from error
    if "postgres" not in str(parsed["ENGINE"]):
        raise CommandError(f"Rows are moved to Postgres: {_FORM}")
    connections.settings[ALIAS] = connections.configure_settings({"default": {}, ALIAS: dict(parsed)})[ALIAS]
    target = connections[ALIAS]
    try:
        try:
            target.ensure_connection()
        except Error as error:
            raise CommandError(f"The database does not answer: {str(error).strip()}") from error
        yield target
    finally:
        target.close()
        del connections[ALIAS]
        del connections.settings[ALIAS]


def tables() -> list[type[Model]]:
    """Return all tables of the apps, those between two tables included."""
    models = apps.get_models(include_auto_created=True)
    return sorted((m for m in models if m._meta.managed and not m._meta.proxy), key=lambda m: m._meta.db_table)


def unknown_tables() -> list[str]:
    """Return tables of the present database that belong to no app of this version."""
    known = {table._meta.db_table for table in tables()} | {MIGRATIONS}
    return sorted(set(connection.introspection.table_names()) - known)


def prepare(target: BaseDatabaseWrapper, url: str) -> None:
    """Migrate a target without tables, and refuse one that holds rows or has other tables. Raises CommandError."""
    if plan := unapplied_migrations():
        raise CommandError(f"The present database lacks {plan[0]}: call manage.py migrate, and then this again.")
    if not target.introspection.table_names():
        migrate(url)
    if plan := unapplied_migrations(target):
        raise CommandError(f"The target lacks {plan[0]}: drop it and create it again, empty.")
    if differing := _applied(target) - _applied(connection):
        raise CommandError(f"The target was migrated by another version ({min(differing)}): create it again, empty.")
    if full := _full(target):
        raise CommandError(
            f"The target has rows in {', '.join(full[:5])}: nothing was changed. Name an empty database, or drop this "
            "one and create it again."
        )


def migrate(url: str) -> None:
    """Migrate in a process of its own, whose only database that is: migrations may ask for the default one."""
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "migrate", "--verbosity", "0"]
    environment = {**os.environ, "DATABASE_URL": url, "ASSAY_DATA": str(settings.DATA_DIR)}
    child = subprocess.run(command, env=environment, capture_output=True, text=True)
    if child.returncode:
        raise CommandError(f"The target cannot be migrated: {child.stderr.strip()[-2000:]}")


def _applied(database: BaseDatabaseWrapper) -> set[str]:
    """Return the migrations that tables have had, of those that this version knows."""
    known = set(MigrationExecutor(database).loader.disk_migrations)
    return {".".join(name) for name in MigrationRecorder(database).applied_migrations() if name in known}


def _full(target: BaseDatabaseWrapper) -> list[str]:
    with target.cursor() as cursor:
        found = []
        for table in tables():
            name = table._meta.db_table
            if name not in _BY_ITSELF:
                cursor.execute(f"SELECT EXISTS (SELECT 1 FROM {target.ops.quote_name(name)})")
                if cursor.fetchone()[0]:
                    found.append(name)
        return found
