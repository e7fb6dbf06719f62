"""An index that is added while people write."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.db import connection, models
from django.db.migrations.state import ProjectState

from annotate.core.db.postgres.index_alongside import AddIndexAlongside

pytestmark = pytest.mark.django_db(transaction=True)


def indexes() -> set[str]:
    with connection.cursor() as cursor:
        return set(connection.introspection.get_constraints(cursor, "annotate_flag"))


def test_it_is_there_and_goes_again():
    operation = AddIndexAlongside("flag", models.Index(fields=["reason"], name="flags_by_reason"))
    before = ProjectState.from_apps(apps)
    after = before.clone()
    operation.state_forwards("annotate", after)
    with connection.schema_editor(atomic=False) as editor:
        operation.database_forwards("annotate", editor, before, after)
    assert "flags_by_reason" in indexes()
    with connection.schema_editor(atomic=False) as editor:
        operation.database_backwards("annotate", editor, after, before)
    assert "flags_by_reason" not in indexes()
