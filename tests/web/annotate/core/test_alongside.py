"""Migrations while the old version writes: an index without a lock, and a column that rows of the old version lack."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.db import connection, models
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState
from django.utils import timezone

from annotate.core.db.postgres.field_alongside import AddFieldAlongside
from annotate.core.db.postgres.index_alongside import AddIndexAlongside
from annotate.models import TryCount

pytestmark = pytest.mark.django_db(transaction=True)


class Applied:
    """An operation, forwards and later backwards."""

    def __init__(self, operation: Operation) -> None:
        self.operation, self.before = operation, ProjectState.from_apps(apps)
        self.after = self.before.clone()
        operation.state_forwards("annotate", self.after)

    def __enter__(self) -> ProjectState:
        with connection.schema_editor(atomic=False) as editor:
            self.operation.database_forwards("annotate", editor, self.before, self.after)
        return self.after

    def __exit__(self, *error: Any) -> None:
        with connection.schema_editor(atomic=False) as editor:
            self.operation.database_backwards("annotate", editor, self.after, self.before)


def constraints(table: str) -> set[str]:
    with connection.cursor() as cursor:
        return set(connection.introspection.get_constraints(cursor, table))


def test_an_index_is_there_and_goes_again():
    with Applied(AddIndexAlongside("flag", models.Index(fields=["reason"], name="flags_by_reason"))):
        assert "flags_by_reason" in constraints("annotate_flag")
    assert "flags_by_reason" not in constraints("annotate_flag")


@pytest.mark.skipif(connection.vendor == "sqlite", reason="no old version serves beside the migrations of SQLite")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        (models.CharField(default="x'y", max_length=9), "x'y"),
        (models.CharField(blank=True, max_length=9), ""),
        (models.BooleanField(default=False), False),
        (models.JSONField(default=dict), {}),
        (models.FloatField(default=0), 0.0),
    ],
)
def test_a_row_that_leaves_the_column_out_gets_its_default(field, value):
    with Applied(AddFieldAlongside("trycount", "added", field)) as state:
        row = TryCount.objects.create(key="k", since=timezone.now())  # as the old version does: it knows no such column
        assert state.apps.get_model("annotate", "TryCount").objects.get(pk=row.pk).added == value
