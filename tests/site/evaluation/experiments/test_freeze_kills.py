"""Real background workers are killed with -9 while they freeze what an experiment waits for: nothing is lost, nothing
is made twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import programs
from tests.support.migrated import copy_migrated
from tests.support.processes import ROOT, until

pytestmark = [pytest.mark.slow, pytest.mark.thorough]
ORDER = """
from annotate.data.datasets import freezing
from annotate.data.datasets.actions import freeze
from evaluation.experiments import actions
from tests.support.factories import make_comparison, make_completion, make_project, make_prompt, make_user
from tests.support.training.runs import make_weights

project = make_project()
annotator, by = make_user(project), make_user(project, role="researcher")
for number in range(12):
    prompt = make_prompt(project, f"Train {number}")
    make_comparison(make_completion(prompt, "Good."), make_completion(prompt, "Bad."), "model_a", annotator)
    make_prompt(project, f"Eval {number}", side="eval")
dataset = freeze(project=project, kind="preferences", name="annotations", by=None)
freezing.SMALL = 2
arms = [{"method": "sft"}, {"method": "dpo"}]
made = actions.order(
    project=project, by=by, name="methods", parent=make_weights(), dataset=dataset, arms=arms, seeds=2, votes_per_pair=4
)
assert made.state == "freezing"
"""
SLOW = """
import time
import django
django.setup()
from django.core.management import call_command
from annotate.core.db.long_work import Hold
say = Hold.__call__
def slow(self, stage, share):
    time.sleep(0.6)
    say(self, stage, share)
Hold.__call__ = slow
call_command("run_background_worker", only=["datasets", "experiments and what they wait for"])
"""


class Place:
    """A database and files of its own, on SQLite."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "ASSAY_DATA": str(folder), "DJANGO_SETTINGS_MODULE": "config.settings"}
        for ours in ("DATABASE_URL", "DJANGO_ALLOW_ASYNC_UNSAFE"):
            self.environment.pop(ours, None)
        self.workers: list[subprocess.Popen] = []

    def start(self, *words: str) -> subprocess.Popen:
        process = subprocess.Popen([sys.executable, *words], cwd=ROOT, env=self.environment, stdout=subprocess.DEVNULL)
        self.workers.append(process)
        return process

    def query(self, statement: str) -> list[tuple]:
        with closing(sqlite3.connect(self.folder / "assay.sqlite3", timeout=20)) as database, database:
            return database.execute(statement).fetchall()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    copy_migrated(tmp_path / "assay.sqlite3")
    with programs.forked():
        place = Place(tmp_path)
        assert place.start("manage.py", "shell", "-v0", "-c", ORDER).wait(120) == 0
        yield place
        for worker in place.workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait(10)


def test_killed_while_it_freezes_another_worker_begins_anew_and_each_arm_trains_once(place: Place):
    for share in (0.2, 0.7, 0.9):
        worker = place.start("-c", SLOW)
        at = f"SELECT 1 FROM annotate_datasetfreeze WHERE state = 'running' AND share >= {share}"
        until(lambda at=at: place.query(at), 60, f"{share:.0%} is frozen")
        worker.send_signal(signal.SIGKILL)
        worker.wait(10)
        assert not place.query("SELECT 1 FROM training_run"), "an arm trains before its dataset stands"
        place.query("UPDATE annotate_datasetfreeze SET claimed_until = '2000-01-01 00:00:00' WHERE claim IS NOT NULL")
    place.start("manage.py", "run_background_worker")
    until(lambda: place.query("SELECT 1 FROM evaluation_experiment WHERE state = 'training'"), 60, "the arms train")
    place.start("manage.py", "run_background_worker", "--once").wait(60)
    assert place.query("SELECT kind, count(*) FROM annotate_dataset GROUP BY kind ORDER BY kind") == [
        ("preferences", 1), ("prompts", 1), ("sft", 1),
    ]  # fmt: skip
    assert place.query("SELECT state, count(*) FROM annotate_datasetfreeze GROUP BY state") == [("done", 2)]
    assert place.query("SELECT kind, count(*) FROM training_run GROUP BY kind ORDER BY kind") == [
        ("dpo", 2), ("sample", 1), ("sft", 2),
    ]  # fmt: skip
