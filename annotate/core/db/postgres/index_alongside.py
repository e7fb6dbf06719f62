"""Add an index while people write to the table: the operation for migrations of tables that grow."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db.migrations import AddIndex


class AddIndexAlongside(AddIndexConcurrently):
    """Build the index without a lock that writers wait for, on Postgres; as AddIndex elsewhere.

    Its migration has `atomic = False` and nothing else in it: what a kill leaves half done is an index marked invalid,
    which `DROP INDEX` removes before the migration runs again.
    """

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        operation = AddIndexConcurrently if schema_editor.connection.vendor == "postgresql" else AddIndex
        operation.database_forwards(self, app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        operation = AddIndexConcurrently if schema_editor.connection.vendor == "postgresql" else AddIndex
        operation.database_backwards(self, app_label, schema_editor, from_state, to_state)
