"""Runs through the worker and a stand-in of Ray that really starts the jobs: what is kept when this or that dies.

The same with a real cluster is in `test_ray_cluster.py`.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.processes import alive, until
from tests.support.training.cluster_runs import (
    Working,
    assert_each_step_once_and_no_two_at_once,
    has_steps,
    is_finished,
)
from tests.support.training.ray_stand_in import Dashboard, Trouble, dashboard, wait_for_the_end_of_recipes
from tests.support.training.runs import lines_of, make_run
from training.models import Run
from training.runs.launchers import ray
from training.runs.launchers.node_files import NodeFiles
from training.runs.ordering.actions import cancel
from training.runs.queue import supervision

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
LEASE_SECONDS = 3.0
KEY = "sk-secret-of-a-laboratory"


@pytest.fixture
def stand_in(settings: Any) -> Iterator[Dashboard]:
    settings.RUN_LAUNCHER, settings.RUN_LEASE_SECONDS, settings.RAY_MEMORY_FACTOR = "ray", LEASE_SECONDS, 0.0
    with dashboard(starts_jobs=True) as made:
        settings.RAY_ADDRESS = made.url
        yield made


@pytest.fixture(autouse=True)
def _nothing_works_afterwards(stand_in: Dashboard, data_folder: Path) -> Iterator[None]:
    yield
    stand_in.kill_everything()
    ray._jobs.clear()
    wait_for_the_end_of_recipes(data_folder)


def test_a_run_is_carried_out_and_kept(stand_in: Dashboard) -> None:
    run = make_run(config={"steps": 5, "step_seconds": 0.4}, seed=3)
    with Working():
        until(lambda: is_finished(run), 60)
    assert_each_step_once_and_no_two_at_once(run, 5)
    attempt = run.attempts.get()
    assert attempt.handle in stand_in.jobs and attempt.node.startswith(os.uname().nodename)
    assert attempt.cpu_seconds > 0 and attempt.memory_bytes > 1_000_000
    assert "UTC: tests.support.training.fake_recipe" in ray.logs(run.path)
    assert (run.output_model.path / "weights.bin").read_text() == "3 5"


def test_a_failure_is_told_in_words(stand_in: Dashboard) -> None:
    run = make_run(config={"death": "failure"})
    with Working():
        until(lambda: is_finished(run), 60)
    run.refresh_from_db()
    assert (run.state, run.reason_code, run.remedy) == ("failed", "too_few", "Collect at least 40.")


@pytest.mark.parametrize(
    "victim",
    ["recipe", *(pytest.param(one, marks=pytest.mark.thorough) for one in ("our process on the node", "both"))],
)
def test_a_kill_costs_the_steps_since_the_checkpoint(stand_in: Dashboard, victim: str) -> None:
    run = make_run(config={"steps": 16, "step_seconds": 0.15})
    with Working():
        until(lambda: has_steps(run), 60)
        [recipe] = (int(pid) for pid in lines_of(run.path / "starts.txt"))
        node = psutil.Process(recipe).ppid()
        if victim != "recipe":
            os.kill(node, signal.SIGKILL)
        if victim != "our process on the node":
            os.kill(recipe, signal.SIGKILL)
        until(lambda: is_finished(run), 120)
    assert_each_step_once_and_no_two_at_once(run, 16)
    lost, won = run.attempts.all()
    assert lost.state == "lost" and won.resumed_from_step >= 4
    assert list(stand_in.jobs) == [lost.handle, won.handle]


def test_a_recipe_that_the_cluster_ends_says_so_and_is_resumed(stand_in: Dashboard) -> None:
    run = make_run(config={"steps": 16, "step_seconds": 0.15})
    with Working():
        until(lambda: has_steps(run), 60)
        stand_in.kill(next(iter(stand_in.jobs)), signal.SIGTERM)
        until(lambda: is_finished(run), 60)
    assert_each_step_once_and_no_two_at_once(run, 16)
    end = NodeFiles(run.path, 1).end()
    assert end is not None and (end.exit_code, end.reason) == (-signal.SIGTERM, "the cluster ended it")


def test_cancelling_ends_it_with_the_grace_of_its_worker(stand_in: Dashboard) -> None:
    run = make_run(config={"steps": 1000, "step_seconds": 0.1})
    with Working():
        until(lambda: run.metrics.exists(), 60)
        cancel(run=run, by=run.created_by)
        until(lambda: is_finished(run), 60)
    run.refresh_from_db()
    assert (run.state, run.reason_code) == ("cancelled", "cancelled")
    assert not any(alive(int(pid)) for pid in lines_of(run.path / "starts.txt"))


def test_a_worker_that_ends_leaves_its_recipe_and_the_next_one_adopts_it(stand_in: Dashboard) -> None:
    run = make_run(config={"steps": 30, "step_seconds": 0.15})
    with Working("first"):
        until(lambda: has_steps(run), 60)
    [recipe] = (int(pid) for pid in lines_of(run.path / "starts.txt"))
    assert alive(recipe)
    with Working("second"):
        until(lambda: is_finished(run), 60)
    assert_each_step_once_and_no_two_at_once(run, 30)
    attempt = run.attempts.get()
    assert attempt.worker.startswith("second@") and lines_of(run.path / "starts.txt") == [str(recipe)]


@pytest.mark.thorough
def test_a_recipe_that_nobody_adopts_ends_by_itself(stand_in: Dashboard) -> None:
    run = make_run(config={"steps": 1000, "step_seconds": 0.1})
    with Working():
        until(lambda: has_steps(run), 60)
    [recipe] = (int(pid) for pid in lines_of(run.path / "starts.txt"))
    until(lambda: not alive(recipe), 4 * LEASE_SECONDS + 5, "the end of the orphan")
    end = until(lambda: NodeFiles(run.path, 1).end(), 30)
    assert "no worker has looked after it" in end.reason  # type: ignore[attr-defined]


def test_the_next_attempts_number_ends_an_orphan_at_once(stand_in: Dashboard) -> None:
    """Its worker is cut off from the database, and lives: it beats on. Another worker has taken the run."""
    run = make_run(config={"steps": 1000, "step_seconds": 0.1, "ignores_sigterm": True})
    with Working() as worker:
        until(lambda: has_steps(run), 60)
        pids = [int(pid) for name in ("starts.txt", "child.txt") for pid in lines_of(run.path / name)]
        NodeFiles(run.path, 2).beat(0)
        until(lambda: not any(alive(pid) for pid in pids), LEASE_SECONDS + 5, "the end of the orphan")
        worker.end()


@pytest.mark.thorough
def test_a_head_that_forgets_its_jobs_does_not_disturb_what_its_node_reports(stand_in: Dashboard) -> None:
    run = make_run(config={"steps": 30, "step_seconds": 0.15})
    with Working():
        until(lambda: has_steps(run), 60)
        stand_in.trouble = Trouble(500)
        until(lambda: has_steps(run, 12), 60)
        stand_in.jobs.clear()
        stand_in.trouble = None
        until(lambda: is_finished(run), 60)
    assert_each_step_once_and_no_two_at_once(run, 30)
    assert run.attempts.count() == 1


def test_a_job_that_begins_when_its_attempt_is_over_begins_nothing(stand_in: Dashboard) -> None:
    stand_in.starts_jobs = False
    run = make_run(config={"steps": 3})
    with Working():
        until(lambda: stand_in.jobs, 30)
        [late] = stand_in.jobs
        cancel(run=run, by=run.created_by)
        until(lambda: is_finished(run), 60)
    stand_in.start(late)
    assert stand_in.processes[late].wait(30) != 0
    assert lines_of(run.path / "starts.txt") == []


def test_a_folder_that_nodes_do_not_share_fails_the_run_in_words(stand_in: Dashboard, monkeypatch) -> None:
    body = ray._body
    elsewhere = lambda directory, *rest: body(Path("/nowhere") / directory.name, *rest)  # noqa: E731
    monkeypatch.setattr(ray, "_body", elsewhere)
    run = make_run()
    with Working():
        until(lambda: is_finished(run), 60)
    run.refresh_from_db()
    assert (run.state, run.reason_code) == ("failed", "ray_job") and "RAY_CHECKOUT" in run.remedy


def test_keys_of_endpoints_reach_the_recipe_and_nothing_else(stand_in, data_folder: Path, settings) -> None:
    settings.RUN_LEASE_SECONDS = 60.0  # nobody beats here
    directory = data_folder / "runs" / "000009"
    directory.mkdir()
    ray.begin(directory, 1)
    handle = ray.submit(
        directory, "tests.support.training.secret_taker", {"parent": ("https://models.example/v1", KEY)}
    )
    assert until(lambda: ray.poll(handle) is not None, 60) and ray.poll(handle) == 0, ray.logs(directory)
    assert (directory / "taken.txt").read_text() == hashlib.sha256(KEY.encode()).hexdigest()
    kept = [path.read_bytes() for path in data_folder.rglob("*") if path.is_file()]
    assert kept and all(KEY.encode() not in text for text in kept) and KEY not in str(stand_in.jobs)
    ray.forget(handle)


@pytest.mark.thorough
def test_a_worker_without_a_cluster_waits_in_words_and_a_full_one_leaves_runs_in_our_queue(stand_in: Dashboard) -> None:
    stand_in.starts_jobs, stand_in.trouble = False, Trouble(503, "no")
    first, second = make_run(), make_run()
    with Working() as worker:
        until(lambda: Run.objects.get(pk=first.pk).phase.startswith("waiting: the Ray cluster answers 503"), 30)
        cancel(run=second, by=second.created_by)
        until(lambda: is_finished(second), 30)
        stand_in.trouble = None
        until(lambda: Run.objects.get(pk=first.pk).phase.startswith("waiting for free resources"), 60)
        until(ray.is_full, 30)
        third = make_run(project=first.project)
        before = time.monotonic()
        until(lambda: time.monotonic() - before > 1, 5)  # twenty rounds of the worker
        assert Run.objects.get(pk=third.pk).state == "queued" and ray.is_full()
        cancel(run=first, by=first.created_by)
        cancel(run=third, by=first.created_by)
        until(lambda: is_finished(first), 30)
        worker.end()


@pytest.mark.thorough
def test_an_attempt_of_a_worker_that_is_gone_is_spared_for_a_lease_and_then_released(stand_in: Dashboard) -> None:
    run = make_run(config={"steps": 1000, "step_seconds": 0.1})
    with Working():
        until(lambda: has_steps(run), 60)
    spared = lambda _: True  # noqa: E731
    supervision.release_lost(is_gone=lambda _: True, is_spared=spared)
    assert Run.objects.get(pk=run.pk).state == "running", "another may adopt it"
    until(lambda: _released(run), 3 * LEASE_SECONDS + 5)


def _released(run: Run) -> bool:
    supervision.release_lost(is_gone=lambda _: False, is_spared=lambda _: True)
    return Run.objects.get(pk=run.pk).state == "queued"
