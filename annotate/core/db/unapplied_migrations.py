"""Compare the tables of a database with this version of the code."""

from __future__ import annotations

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor


def unapplied_migrations(database: BaseDatabaseWrapper | None = None) -> list[str]:
    """Return the migrations that a database, the present one by default, has not had, in their order."""
    executor = MigrationExecutor(database or connection)
    return [str(migration) for migration, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]
