"""Add a column that must have a value while the old version serves, which leaves it out."""

from __future__ import annotations

from typing import Any

from django.db.migrations import AddField


class AddFieldAlongside(AddField):
    """Add the column, and on Postgres keep its default in the database: Django drops it, and the rows that the old
    version writes would be refused until it has ended. A field of new code says `db_default` itself."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        super().database_forwards(app_label, schema_editor, from_state, to_state)
        model = to_state.apps.get_model(app_label, self.model_name)
        is_here = self.allow_migrate_model(schema_editor.connection.alias, model)
        if schema_editor.connection.vendor != "postgresql" or not is_here:
            return
        field = model._meta.get_field(self.name)
        table, column = (schema_editor.quote_name(name) for name in (model._meta.db_table, field.column))
        default = schema_editor.quote_value(schema_editor.effective_default(self.field))
        schema_editor.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {default}", params=None)
