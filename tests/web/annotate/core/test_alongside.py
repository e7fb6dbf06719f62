"""Migrations while the old version writes: an index without a lock, one of fewer rows in place of another, and a column
that rows of the old version lack."""

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
from annotate.core.db.postgres.narrow_alongside import NarrowFieldIndexAlongside
from annotate.models import Assignment, Comparison, Completion, Demonstration, Prompt, TryCount

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


def narrow() -> NarrowFieldIndexAlongside:
    return NarrowFieldIndexAlongside(
        "flag",
        "completion",
        models.ForeignKey("annotate.Completion", models.PROTECT, null=True, related_name="flags", db_index=False),
        models.Index(fields=["completion"], condition=models.Q(completion__isnull=False), name="flags_of_an_answer"),
    )


def indexes_of_completions() -> set[str]:
    return {name for name in constraints("annotate_flag") if "completion_id" in name and "fk" not in name}


def test_an_index_gives_way_to_one_of_fewer_rows_and_comes_back():
    before = indexes_of_completions()
    with Applied(narrow()):
        assert "flags_of_an_answer" in constraints("annotate_flag") and not indexes_of_completions()
    assert "flags_of_an_answer" not in constraints("annotate_flag") and indexes_of_completions() == before != set()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="builds it in a transaction")
def test_an_index_that_a_kill_left_half_done_is_built_anew():
    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX flags_of_an_answer ON annotate_flag (id)")
        cursor.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'flags_of_an_answer'::regclass")
    with Applied(narrow()), connection.cursor() as cursor:
        cursor.execute("SELECT indisvalid, pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON oid = indexrelid "
                       "WHERE relname = 'flags_of_an_answer'")  # fmt: skip
        is_valid, definition = cursor.fetchone()
        assert is_valid and "(completion_id) WHERE (completion_id IS NOT NULL)" in definition


NARROWED = {
    "prompts_by_root": Prompt.objects.filter(root=7),
    "prompts_by_newer_version": Prompt.objects.filter(replaced_by=7),
    "prompts_by_reviewer": Prompt.objects.filter(reviewed_by=7),
    "completions_by_model": Completion.objects.filter(model__in=[7, 8]),
    "comparison_by_assignment": Comparison.objects.filter(assignment__in=[7, 8]),
    "comparison_by_ranking": Comparison.objects.filter(ranking__in=[7, 8]),
    "demonstration_by_original": Demonstration.objects.filter(edited_from=7),
    "rating_by_assignment": Assignment.objects.filter(pk=7, ratings__isnull=False),
}


@pytest.mark.parametrize("name", NARROWED)
def test_who_asks_for_a_value_reads_the_index_of_rows_that_have_one(name):
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":  # of an empty table it would read all
            cursor.execute("SET enable_seqscan = off")
        try:
            assert name in NARROWED[name].order_by().explain()
        finally:
            if connection.vendor == "postgresql":
                cursor.execute("RESET enable_seqscan")


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
