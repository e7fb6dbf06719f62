"""Narrow an index to the rows that have a value, while people write to the table."""

from __future__ import annotations

from typing import Any

from django.db import models

from annotate.core.db.postgres.drop_alongside import DropFieldIndexAlongside


class NarrowFieldIndexAlongside(DropFieldIndexAlongside):
    """Replace the index that Django made for a foreign key by `index`, of the rows alone that its condition holds for.

    The new index stands before the old one goes, so that no query is ever without one. On Postgres nobody waits for
    either (`CONCURRENTLY`), so that its migration has `atomic = False`. After a kill the migration goes on: an index
    that was left half done is marked invalid, and is built anew. `field` says `db_index=False`.
    """

    def __init__(self, model_name: str, name: str, field: models.Field, index: models.Index) -> None:
        super().__init__(model_name, name, field)
        self.index = index

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        name, positional, wanted = super().deconstruct()
        return name, positional, wanted | {"index": self.index}

    def state_forwards(self, app_label: str, state: Any) -> None:
        super().state_forwards(app_label, state)
        state.add_index(app_label, self.model_name.lower(), self.index)

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        is_postgres = schema_editor.connection.vendor == "postgresql"
        if is_postgres and _is_half_done(schema_editor, self.index.name):
            schema_editor.remove_index(model, self.index, concurrently=True)
        if self.index.name not in schema_editor._constraint_names(model, index=True):
            schema_editor.add_index(model, self.index, **({"concurrently": True} if is_postgres else {}))
        super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        super().database_backwards(app_label, schema_editor, from_state, to_state)
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            schema_editor.remove_index(model, self.index)

    def describe(self) -> str:
        return f"Narrow the index of {self.name} on {self.model_name} alongside the old version"


def _is_half_done(schema_editor: Any, name: str) -> bool:
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [f'"{name}"'])
        return any(is_half_done for (is_half_done,) in cursor.fetchall())
