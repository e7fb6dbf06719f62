"""A new database by the squashed migrations has the tables that the single ones make, step by step."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import programs
from tests.support.migrated import copy_migrated
from tests.support.processes import FOREIGN, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.thorough]


@pytest.fixture(autouse=True)
def _programs_are_forked() -> Iterator[None]:
    with programs.forked():
        yield


def tables(file: Path) -> dict[str, object]:
    """Return columns, foreign keys and indexes by name, without the order in which they came."""
    with closing(sqlite3.connect(file)) as database:
        objects = database.execute(
            "select type, name, sql from sqlite_master where name not like 'sqlite_%'"
        ).fetchall()
        return {
            name: sql
            if kind != "table"
            else (
                sorted(row[1:] for row in database.execute(f"pragma table_info('{name}')")),
                sorted(row[2:] for row in database.execute(f"pragma foreign_key_list('{name}')")),
                sorted(word for word in sql.replace("(", " ( ").replace(")", " ) ").replace(",", " ").split()),
            )
            for kind, name, sql in objects
        }


def test_squashed_and_single_migrations_make_the_same_tables(tmp_path: Path):
    copy_migrated(tmp_path / "squashed.sqlite3")
    environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    environment["ASSAY_DATA"] = str(tmp_path)
    script = (
        "import django; django.setup()\n"
        "from django.core.management import call_command\n"
        "from django.db.migrations.loader import MigrationLoader\n"
        "loaded = MigrationLoader.load_disk\n"
        "def without_squashed(self):\n"
        "    loaded(self)\n"
        "    for key in [key for key, one in self.disk_migrations.items() if one.replaces]:\n"
        "        del self.disk_migrations[key]\n"
        "MigrationLoader.load_disk = without_squashed\n"
        "call_command('migrate', verbosity=0)\n"
    )
    environment["DJANGO_SETTINGS_MODULE"] = "config.settings"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, check=True)
    assert tables(tmp_path / "assay.sqlite3") == tables(tmp_path / "squashed.sqlite3")
    after = subprocess.run(
        [sys.executable, "manage.py", "migrate", "--check"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert after.returncode == 0, "who migrated step by step has nothing left to do: " + after.stdout
