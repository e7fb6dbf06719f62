"""Drop an index while people write to the table: the operation for migrations of tables that grow."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.migrations.operations.base import Operation


class DropFieldIndexAlongside(Operation):
    """Drop the index that Django made for a field by itself: of a foreign key, or for LIKE on a unique text.

    On Postgres nobody waits for it (`CONCURRENTLY`), so that its migration has `atomic = False`. `field` is the field
    from now on, where it says `db_index=False`. After a kill the migration drops what is left.
    """

    reduces_to_sql = True

    def __init__(self, model_name: str, name: str, field: models.Field | None = None) -> None:
        self.model_name, self.name, self.field = model_name, name, field

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        wanted = {"model_name": self.model_name, "name": self.name, "field": self.field}
        return type(self).__name__, [], {name: value for name, value in wanted.items() if value is not None}

    def state_forwards(self, app_label: str, state: Any) -> None:
        if self.field is not None:
            state.alter_field(app_label, self.model_name.lower(), self.name, self.field, preserve_default=True)

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        named = {index.name for index in model._meta.indexes}
        column = model._meta.get_field(self.name).column
        plain = {"unique": False, "primary_key": False, "index": True, "type_": models.Index.suffix, "exclude": named}
        how = "CONCURRENTLY IF EXISTS" if schema_editor.connection.vendor == "postgresql" else "IF EXISTS"
        for index in schema_editor._constraint_names(model, [column], **plain):
            schema_editor.execute(f"DROP INDEX {how} {schema_editor.quote_name(index)}")

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        field = model._meta.get_field(self.name)
        if field.is_relation:
            schema_editor.execute(schema_editor._create_index_sql(model, fields=[field]))
        elif schema_editor.connection.vendor == "postgresql":
            schema_editor.execute(schema_editor._create_like_index_sql(model, field))

    def describe(self) -> str:
        return f"Drop the index of {self.name} on {self.model_name} alongside the old version"
