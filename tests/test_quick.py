"""What `pytest --quick` chooses, and the migrated file that all tests copy."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from django.db.migrations.recorder import MigrationRecorder

from tests.migrated import fingerprint, migrated_file
from tests.processes import ROOT
from tests.quick import is_of, is_quick, needs_torch, require_subject


@pytest.mark.parametrize(
    ("module", "without", "with_arena"),
    [
        ("tests/evaluation/test_ratings.py", True, True),  # pure
        ("tests/annotate/test_arena.py", False, True),  # a database
        ("tests/annotate/test_webhooks.py", False, False),
        ("tests/browser/test_arena.py", False, False),  # a whole site
        ("tests/training/test_recipe_sft.py", False, False),  # torch
    ],
)
def test_pure_tests_are_quick_and_those_of_the_subject(module: str, without: bool, with_arena: bool):
    assert (is_quick(ROOT / module, ""), is_quick(ROOT / module, "arena")) == (without, with_arena)


def test_a_subject_is_part_of_a_modules_name_or_a_folder_that_it_imports_from():
    runs = ROOT / "tests/test_api_runs.py"
    assert is_of(runs, "api_runs") and not is_of(runs, "test_api") and not is_of(runs, "")
    assert is_of(ROOT / "tests/annotate/test_feedback.py", "labelling")
    require_subject("labelling")


def test_a_subject_of_which_there_is_no_test_is_said():
    with pytest.raises(pytest.UsageError, match="No test is of labeling"):
        require_subject("labeling")


def test_torch_is_found_behind_other_imports_and_not_within_functions():
    assert needs_torch(ROOT / "tests/training/test_recipe_grpo_rloo.py")
    assert not needs_torch(ROOT / "tests/tiny_model.py")  # imports it when it is asked for a model
    assert not needs_torch(ROOT / "config/settings.py")


def test_the_migrated_file_has_every_migration_that_is_there(tmp_path: Path):
    with closing(sqlite3.connect(migrated_file())) as database:
        rows = database.execute(f"select app, name from {MigrationRecorder.Migration._meta.db_table}").fetchall()
    for app in ("annotate", "training", "evaluation"):
        written = {path.stem for path in (ROOT / app / "migrations").glob("0*.py")}
        assert {name for where, name in rows if where == app} >= written


def test_it_is_made_once_and_anew_when_a_migration_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made: list[Path] = []
    monkeypatch.setattr("tests.migrated._make", lambda file: (made.append(file), file.touch()))
    assert migrated_file(tmp_path) == migrated_file(tmp_path)
    monkeypatch.setattr("tests.migrated.fingerprint", lambda: "other")
    assert migrated_file(tmp_path).stem == "other"
    assert len(made) == 2 and [path.stem for path in tmp_path.glob("*.sqlite3")] == ["other"]
    assert len(fingerprint()) == 20
