"""Real workers are killed with -9 in the midst of an import: no row twice, none left out, whoever goes on."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import programs
from tests.support.migrated import copy_migrated
from tests.support.processes import ROOT, until

pytestmark = pytest.mark.slow
ROWS = 12_000


class Place:
    """A database and files of its own, on SQLite, as `manage.py` finds them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "ASSAY_DATA": str(folder), "DJANGO_SETTINGS_MODULE": "config.settings"}
        for ours in ("DATABASE_URL", "DJANGO_ALLOW_ASYNC_UNSAFE"):
            self.environment.pop(ours, None)
        self.workers: list[subprocess.Popen] = []

    def manage(self, *words: str) -> str:
        command = [sys.executable, "manage.py", *words]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start_worker(self) -> subprocess.Popen:
        command = [sys.executable, "manage.py", "run_background_worker", "--only", "imports"]
        worker = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=subprocess.DEVNULL)
        self.workers.append(worker)
        return worker

    def query(self, statement: str, *values: object) -> list[tuple]:
        with sqlite3.connect(self.folder / "assay.sqlite3", timeout=20) as database:
            return database.execute(statement, values).fetchall()

    def let_lease_run_out(self) -> None:
        self.query("UPDATE annotate_import SET claimed_until = '2000-01-01 00:00:00' WHERE state = 'running'")

    def lines(self) -> int:
        return self.query("SELECT lines FROM annotate_import")[0][0]


@pytest.fixture(autouse=True)
def _programs_are_forked() -> Iterator[None]:
    with programs.forked():
        yield


@pytest.fixture
def place(tmp_path: Path):
    place = Place(tmp_path)
    copy_migrated(tmp_path / "assay.sqlite3")
    code = (
        "from annotate.models import *; by = User.objects.create(username='boss', is_superuser=True); "
        "Project.objects.create(slug='here', name='Here')"
    )
    place.manage("shell", "-v0", "-c", code)
    yield place
    for worker in place.workers:
        if worker.poll() is None:
            worker.kill()
        worker.wait(10)


def queue(place: Place, rows: int) -> None:
    path = place.folder / "rows.jsonl"
    with path.open("w") as file:
        for n in range(rows):
            file.write(json.dumps({"prompt": f"Question {n}?", "chosen": f"Good {n}", "rejected": f"Bad {n}"}) + "\n")
    place.manage("import_feedback", str(path), "--project", "here", "--queue")


def check(place: Place, rows: int) -> None:
    until(lambda: place.query("SELECT state FROM annotate_import")[0][0] == "done", 120, "the import is done")
    tables = ("prompt", "completion", "comparison")
    assert [place.query(f"SELECT count(*) FROM annotate_{table}")[0][0] for table in tables] == [rows, 2 * rows, rows]
    counts = json.loads(place.query("SELECT counts FROM annotate_import")[0][0])
    assert counts["comparisons"] == rows and not counts.get("already") and not counts.get("bad")


@pytest.mark.thorough
def test_killed_three_times_at_any_moment(place: Place):
    queue(place, ROWS)
    lot = random.Random(5)
    for part in (0.1, 0.35, 0.6):
        worker = place.start_worker()
        until(lambda part=part: place.lines() > part * ROWS, 120, f"{part:.0%} is read")
        time.sleep(lot.uniform(0, 0.3))
        worker.send_signal(signal.SIGKILL)
        worker.wait(10)
        place.let_lease_run_out()
    assert place.lines() < ROWS
    place.start_worker()
    check(place, ROWS)


@pytest.mark.thorough
def test_one_of_two_background_workers_is_killed_and_one_is_asked_to_end(place: Place):
    queue(place, ROWS)
    first, second = place.start_worker(), place.start_worker()
    until(lambda: place.lines() > 0.2 * ROWS, 120, "a fifth is read")
    first.send_signal(signal.SIGKILL)
    first.wait(10)
    place.let_lease_run_out()
    until(lambda: place.lines() > 0.5 * ROWS, 120, "half is read")
    second.terminate()
    assert second.wait(20) == 0  # and gave back what it held: nobody has to wait for a lease
    place.start_worker()
    check(place, ROWS)
