"""A database and files for real background workers, which tests kill: on SQLite or a Postgres, without pages."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg

from tests.support import programs
from tests.support.migrated import copy_migrated, migrate_postgres
from tests.support.processes import ROOT


class BackgroundSite:
    def __init__(self, folder: Path, postgres_url: str = "") -> None:
        self.folder, self._postgres_url = folder, postgres_url
        self.environment = {**os.environ, "ASSAY_DATA": str(folder), "DJANGO_SETTINGS_MODULE": "config.settings"}
        for ours in ("DATABASE_URL", "DJANGO_ALLOW_ASYNC_UNSAFE"):
            self.environment.pop(ours, None)
        if postgres_url:
            self.environment["DATABASE_URL"] = postgres_url
        self._started: list[subprocess.Popen] = []

    def manage(self, *words: str) -> str:
        """Run a command of manage.py to its end; return what it printed."""
        command = [sys.executable, "manage.py", *words]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *words: str) -> subprocess.Popen:
        """Start Python with these words after it."""
        process = subprocess.Popen([sys.executable, *words], cwd=ROOT, env=self.environment, stdout=subprocess.DEVNULL)
        self._started.append(process)
        return process

    def query(self, statement: str) -> list[tuple]:
        if self._postgres_url:
            with psycopg.connect(self._postgres_url) as server:
                cursor = server.execute(statement)  # type: ignore[call-overload]
                return cursor.fetchall() if cursor.description else []
        with closing(sqlite3.connect(self.folder / "assay.sqlite3", timeout=20)) as database, database:
            return database.execute(statement).fetchall()

    def end(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait(10)


@contextmanager
def background_site(folder: Path, postgres_url: str = "") -> Iterator[BackgroundSite]:
    """Yield a migrated, empty one, whose programs are forked; what it started ends with the block."""
    site = BackgroundSite(folder, postgres_url)
    if postgres_url:
        migrate_postgres(site.environment)
    else:
        copy_migrated(folder / "assay.sqlite3")
    with programs.forked():
        try:
            yield site
        finally:
            site.end()


def kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(10)
