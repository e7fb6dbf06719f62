"""Real background workers are killed with -9 while they freeze what an experiment waits for: nothing is lost, nothing
is made twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import until
from tests.support.sites.background_site import BackgroundSite, background_site, kill

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


@pytest.fixture
def site(tmp_path: Path) -> Iterator[BackgroundSite]:
    with background_site(tmp_path) as site:
        site.manage("shell", "-v0", "-c", ORDER)
        yield site


def test_killed_while_it_freezes_another_worker_begins_anew_and_each_arm_trains_once(site: BackgroundSite):
    for share in (0.2, 0.7, 0.9):
        worker = site.start("-c", SLOW)
        at = f"SELECT 1 FROM annotate_datasetfreeze WHERE state = 'running' AND share >= {share}"
        until(lambda at=at: site.query(at), 60, f"{share:.0%} is frozen")
        kill(worker)
        assert not site.query("SELECT 1 FROM training_run"), "an arm trains before its dataset stands"
        site.query("UPDATE annotate_datasetfreeze SET claimed_until = '2000-01-01 00:00:00' WHERE claim IS NOT NULL")
    site.start("manage.py", "run_background_worker")
    until(lambda: site.query("SELECT 1 FROM evaluation_experiment WHERE state = 'training'"), 60, "the arms train")
    site.start("manage.py", "run_background_worker", "--once").wait(60)
    assert site.query("SELECT kind, count(*) FROM annotate_dataset GROUP BY kind ORDER BY kind") == [
        ("preferences", 1), ("prompts", 1), ("sft", 1),
    ]  # fmt: skip
    assert site.query("SELECT state, count(*) FROM annotate_datasetfreeze GROUP BY state") == [("done", 2)]
    assert site.query("SELECT kind, count(*) FROM training_run GROUP BY kind ORDER BY kind") == [
        ("dpo", 2), ("sample", 1), ("sft", 2),
    ]  # fmt: skip
