"""Migrations run while the old version serves: it goes on writing rows, and nobody waits for a long lock."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

from annotate.core.db.postgres.drop_alongside import DropFieldIndexAlongside
from annotate.core.db.postgres.field_alongside import AddFieldAlongside

ROOT = Path(__file__).resolve().parents[3]
# The last ones of before the rule.
BEFORE = {"annotate": 36, "training": 13, "evaluation": 11}
SAFE = (migrations.CreateModel, migrations.RunPython, migrations.AlterModelOptions, migrations.AlterModelManagers)


def modules() -> list[str]:
    """Return the migrations that the rule is for."""
    return [
        f"{app}.migrations.{path.stem}"
        for app, last in BEFORE.items()
        for path in sorted((ROOT / app / "migrations").glob("[0-9]*.py"))
        if int(path.stem[:4]) > last
    ]


def problem(operation: object, made: set[str], *, is_alone: bool, is_atomic: bool = True) -> str:
    """Return why an operation stops the old version; empty where it does not. `made` are tables of this migration."""
    table = getattr(operation, "model_name", "").lower()
    match operation:
        case _ if isinstance(operation, SAFE) or table in made:
            return ""
        case AddFieldAlongside():
            return ""
        case migrations.AddField(field=field):
            is_left_out = field.null or field.has_db_default() or isinstance(field, models.ManyToManyField)
            return (
                ""
                if is_left_out
                else f"{table}.{operation.name} needs null=True or db_default: the old version leaves it out"
            )
        case migrations.AlterField():
            return ""  # help texts and choices; makemigrations would be asked for the rest, and the benchmark sees it
        case AddIndexConcurrently():
            return "" if is_alone else f"the index on {table} needs a migration of its own with atomic = False"
        case DropFieldIndexAlongside():
            return f"dropping an index of {table} needs a migration with atomic = False" if is_atomic else ""
        case migrations.AddIndex():
            return f"the index on {table} locks out writers: use AddIndexAlongside in a migration of its own"
        case migrations.AddConstraint():
            return f"the constraint on {table} reads the whole table under a lock: add it NOT VALID, then validate it"
    return f"{type(operation).__name__} {table}: the old version still reads that; do it a version later"


@pytest.mark.parametrize("name", modules())
def test_a_migration_lets_the_old_version_serve(name: str):
    migration = importlib.import_module(name).Migration
    made = {one.name.lower() for one in migration.operations if isinstance(one, migrations.CreateModel)}
    is_alone = not migration.atomic and len(migration.operations) == 1
    is_atomic = migration.atomic
    problems = [problem(one, made, is_alone=is_alone, is_atomic=is_atomic) for one in migration.operations]
    assert not [one for one in problems if one], "see docs/guides/operating.md, Upgrade"


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        (migrations.AddField("Rating", "x", models.IntegerField(default=0)), "needs null=True or db_default"),
        (migrations.AddField("Rating", "x", models.IntegerField(null=True)), ""),
        (migrations.AddField("Rating", "x", models.IntegerField(db_default=0)), ""),
        (migrations.AddField("New", "x", models.IntegerField()), ""),
        (migrations.AddIndex("rating", models.Index(fields=["x"], name="i")), "AddIndexAlongside"),
        (AddIndexConcurrently("rating", models.Index(fields=["x"], name="i")), "of its own"),
        (DropFieldIndexAlongside("rating", "x"), "atomic = False"),
        (migrations.RemoveField("rating", "x"), "a version later"),
        (migrations.RenameField("rating", "x", "y"), "a version later"),
        (migrations.RunSQL("select 1"), "a version later"),
    ],
)
def test_what_would_stop_it_is_told(operation, said):
    found = problem(operation, {"new"}, is_alone=False)
    assert said in found and bool(said) == bool(found)


def test_numbers_of_migrations_are_told_apart():
    for app in BEFORE:
        names = [path.stem for path in (ROOT / app / "migrations").glob("[0-9]*.py") if "squashed" not in path.stem]
        assert len(names) == len({re.match(r"\d+", name)[0] for name in names}), app
