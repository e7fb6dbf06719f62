"""What `pytest --quick` chooses, and the migrated file that all tests copy."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from django.db.migrations.recorder import MigrationRecorder

from tests.support.migrated import fingerprint, migrated_file
from tests.support.processes import ROOT
from tests.support.quick import is_of, is_quick, require_subject


@pytest.mark.parametrize(
    ("module", "without", "with_arena"),
    [
        ("tests/unit/evaluation/ratings/test_ratings.py", True, True),  # pure
        ("tests/web/annotate/arena/test_battles.py", False, True),  # a database
        ("tests/web/annotate/projects/test_webhooks.py", False, False),
        ("tests/site/browser/test_arena.py", False, False),  # a whole site
        ("tests/recipes/training/sft/test_recipe_sft.py", False, False),  # torch
    ],
)
def test_pure_tests_are_quick_and_those_of_the_subject(module: str, without: bool, with_arena: bool):
    assert (is_quick(ROOT / module, ""), is_quick(ROOT / module, "arena")) == (without, with_arena)


def test_a_subject_is_part_of_a_modules_name_or_its_folder():
    runs = ROOT / "tests/web/training/runs/test_api_runs.py"
    assert is_of(runs, "api_runs") and is_of(runs, "runs") and not is_of(runs, "test_api") and not is_of(runs, "")
    assert is_of(ROOT / "tests/web/annotate/labelling/test_feedback.py", "labelling")
    require_subject("labelling")


def test_a_subject_of_which_there_is_no_test_is_said():
    with pytest.raises(pytest.UsageError, match="No test is of labeling"):
        require_subject("labeling")


@pytest.mark.thorough
def test_pure_tests_ask_for_no_database_and_load_no_torch():
    program = (
        "import sys, pytest\n"
        "code = pytest.main(['-q', '-p', 'no:cacheprovider', '--collect-only', 'tests/unit'])\n"
        "print(int(code), [name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "0 []", done.stdout[-2000:]
    marked = re.compile(r"django_db|\b(?:client|db|live_server)\b[,)]")
    assert not [path for path in (ROOT / "tests/unit").rglob("test_*.py") if marked.search(path.read_text())]


def test_the_migrated_file_has_every_migration_that_is_there(tmp_path: Path):
    with closing(sqlite3.connect(migrated_file())) as database:
        rows = database.execute(f"select app, name from {MigrationRecorder.Migration._meta.db_table}").fetchall()
    for app in ("annotate", "training", "evaluation"):
        written = {path.stem for path in (ROOT / app / "migrations").glob("0*.py")}
        assert {name for where, name in rows if where == app} >= written


def test_it_is_made_once_and_anew_when_a_migration_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    made: list[Path] = []
    monkeypatch.setattr("tests.support.migrated._make", lambda file: (made.append(file), file.touch()))
    assert migrated_file(tmp_path) == migrated_file(tmp_path)
    monkeypatch.setattr("tests.support.migrated.fingerprint", lambda: "other")
    assert migrated_file(tmp_path).stem == "other"
    assert len(made) == 2 and [path.stem for path in tmp_path.glob("*.sqlite3")] == ["other"]
    assert len(fingerprint()) == 20
