"""Runs on nodes that share no folder with their worker: a stand-in of Ray really starts the jobs, in a data folder of
their own that is empty at first, and a storage lies between them."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from annotate.core.artefacts import local_copies
from tests.support.processes import alive, until
from tests.support.training.cluster_runs import Working, assert_each_step_once_and_no_two_at_once, is_finished
from tests.support.training.ray_stand_in import Dashboard, dashboard, wait_for_the_end_of_recipes
from tests.support.training.runs import lines_of, make_run
from training.core.run_directory import RunDirectory
from training.models import Run
from training.runs.launchers import ray
from training.runs.ordering.actions import cancel

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
LEASE_SECONDS = 3.0
KEY = "sk-secret-of-a-laboratory"


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of the nodes."""
    folder = tmp_path / "of-nodes"
    monkeypatch.setenv("ASSAY_DATA", str(folder))
    return folder / "node"


@pytest.fixture(autouse=True)
def stand_in(settings: Any, storage: Path, node: Path) -> Iterator[Dashboard]:
    settings.RUN_LAUNCHER, settings.RUN_LEASE_SECONDS, settings.RAY_MEMORY_FACTOR = "ray", LEASE_SECONDS, 0.0
    with dashboard(starts_jobs=True) as made:
        settings.RAY_ADDRESS = made.url
        yield made
        made.kill_everything()
        for directory in list(ray._relays):
            ray.leave(directory, is_over=False)
        ray._jobs.clear()
        wait_for_the_end_of_recipes(node)


def there(node: Path, run: Run) -> RunDirectory:
    return RunDirectory(next((node / "runs").glob(f"{run.path.name}-*"), node / "nowhere"))


def has_kept(node: Path, run: Run, step: int = 4) -> bool:
    """Whether that checkpoint is in the storage."""
    manifest = local_copies.covering(run.path)
    kept = [entry.path for entry in manifest.entries if entry.path.startswith("checkpoints/")] if manifest else []
    return any(int(path.split("/")[1].removeprefix("step-")) >= step for path in kept)


def parts_in(storage: Path) -> list[Path]:
    return [path for path in storage.rglob("part/*/*/*") if path.is_file()]


def test_a_node_brings_its_inputs_and_puts_back_what_it_leaves(node: Path, data_folder: Path) -> None:
    run = make_run(config={"steps": 12, "step_seconds": 0.2}, seed=3)
    with Working():
        until(lambda: run.metrics.count() >= 3 and run.samples.exists(), 60, "figures come while it works")
        assert not is_finished(run) and "step 2" in (run.path / "log.txt").read_text()
        assert Run.objects.get(pk=run.pk).step >= 1
        until(lambda: is_finished(run), 60)
    assert_each_step_once_and_no_two_at_once(run, 12)
    spec = there(node, run).spec()
    assert spec.parent == str(node / local_copies.name_of(run.parent.path)) and (node / "models").is_dir()
    manifest = local_copies.store().verify(local_copies.name_of(run.path))
    assert manifest.entry("model/weights.bin") and not [e for e in manifest.entries if e.path.startswith("node/")]
    assert not [entry for entry in manifest.entries if entry.path.startswith("checkpoints/")]
    assert run.output_model.content_hash and not run.output_model.path.exists(), "the worker has no copy"
    local_copies.bring(run.output_model.path)
    assert (run.output_model.path / "weights.bin").read_text() == "3 12"
    until(lambda: not parts_in(data_folder.parent / "storage"), 30, "parts of files are deleted")


@pytest.mark.thorough
def test_a_failure_is_told_in_words() -> None:
    run = make_run(config={"death": "failure"})
    with Working():
        until(lambda: is_finished(run), 60)
    run.refresh_from_db()
    assert (run.state, run.reason_code, run.remedy) == ("failed", "too_few", "Collect at least 40.")


@pytest.mark.thorough
def test_a_killed_recipe_goes_on_from_what_was_stored_on_a_node_that_has_nothing(
    node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(config={"steps": 16, "step_seconds": 0.3})
    with Working():
        until(lambda: has_kept(node, run), 60)
        [recipe] = (int(pid) for pid in lines_of(there(node, run).path / "starts.txt"))
        monkeypatch.setenv("ASSAY_DATA", str(node.with_name("another")))
        os.kill(psutil.Process(recipe).ppid(), signal.SIGKILL)
        until(lambda: is_finished(run), 120)
    assert_each_step_once_and_no_two_at_once(run, 16)
    lost, won = run.attempts.all()
    assert lost.state == "lost" and won.resumed_from_step >= 4
    assert there(node.with_name("another") / "node", run).result() and there(node, run).result() is None


@pytest.mark.thorough
def test_cancelling_ends_it(node: Path) -> None:
    run = make_run(config={"steps": 1000, "step_seconds": 0.1})
    with Working():
        until(lambda: run.metrics.exists(), 60)
        cancel(run=run, by=run.created_by)
        until(lambda: is_finished(run), 60)
    run.refresh_from_db()
    assert (run.state, run.reason_code) == ("cancelled", "cancelled")
    assert not any(alive(int(pid)) for pid in lines_of(there(node, run).path / "starts.txt"))


@pytest.mark.thorough
def test_the_next_worker_adopts_a_recipe_from_a_host_that_knows_nothing_of_it(
    node: Path, settings: Any, tmp_path: Path
) -> None:
    run = make_run(config={"steps": 30, "step_seconds": 0.15})
    with Working("first"):
        until(lambda: has_kept(node, run), 60)
    [recipe] = (int(pid) for pid in lines_of(there(node, run).path / "starts.txt"))
    settings.DATA_DIR = tmp_path / "second"
    settings.RUNS_DIR = settings.DATA_DIR / "runs"
    with Working("second"):
        until(lambda: is_finished(run), 60)
    assert_each_step_once_and_no_two_at_once(run, 30)
    attempt = run.attempts.get()
    assert attempt.worker.startswith("second@") and lines_of(run.path / "starts.txt") == [str(recipe)]


@pytest.mark.thorough
def test_a_storage_that_is_gone_ends_no_run_and_none_begins_twice(node: Path, storage: Path) -> None:
    """Gone for longer than two leases: the recipe ends by itself, and goes on from its checkpoint."""
    run = make_run(config={"steps": 40, "step_seconds": 0.2})
    with Working():
        until(lambda: has_kept(node, run), 60)
        [recipe] = (int(pid) for pid in lines_of(there(node, run).path / "starts.txt"))
        storage.rename(storage.with_name("away"))
        until(lambda: "waiting for the storage" in Run.objects.get(pk=run.pk).phase, 60)
        until(lambda: not alive(recipe), 4 * LEASE_SECONDS + 10, "the recipe ends: nobody can be heard")
        assert run.attempts.count() == 1
        storage.with_name("away").rename(storage)
        until(lambda: is_finished(run), 120)
    assert_each_step_once_and_no_two_at_once(run, 40)


@pytest.mark.thorough
def test_what_ended_while_the_storage_was_gone_is_stored_later(node: Path, storage: Path) -> None:
    run = make_run(config={"steps": 6, "step_seconds": 0.3})
    with Working():
        until(lambda: has_kept(node, run, 2), 60)
        storage.rename(storage.with_name("away"))
        until(lambda: there(node, run).result(), 60)
        [recipe] = (int(pid) for pid in lines_of(there(node, run).path / "starts.txt"))
        until(lambda: not alive(recipe), 30)
        storage.with_name("away").rename(storage)
        until(lambda: is_finished(run), 60)
    assert_each_step_once_and_no_two_at_once(run, 6)
    assert run.attempts.count() == 1


def test_a_damaged_model_is_refused_in_words(storage: Path, node: Path) -> None:
    run = make_run()
    local_copies.keep(run.parent.path)
    [blob] = (path for path in (storage / "blobs").rglob("*") if path.is_file())
    blob.write_text("[]")
    with Working():
        until(lambda: is_finished(run), 60)
    run.refresh_from_db()
    assert (run.state, run.reason_code) == ("failed", "storage") and "does not have the hash" in run.reason


@pytest.mark.thorough
def test_keys_of_endpoints_reach_the_recipe_and_no_file(
    node: Path, stand_in: Dashboard, storage: Path, data_folder: Path, settings: Any
) -> None:
    settings.RUN_LEASE_SECONDS = 30.0  # nobody beats here
    directory = data_folder / "runs" / "000009"
    directory.mkdir(parents=True)
    (directory / "identity").write_text("run 9")
    (directory / "config.json").write_text('{"kind": "fake", "config": {}}')
    (directory / "node").mkdir()
    (directory / "node" / "inputs.json").write_text('{"data_folder": "/nowhere"}')
    ray.begin(directory, 1)
    secrets = {"parent": ("https://models.example/v1", KEY)}
    handles: list[str] = []

    def submit() -> bool:
        try:
            handles.append(ray.submit(directory, "tests.support.training.secret_taker", secrets))
        except ray.Busy:
            return False
        return True

    until(submit, 30)
    assert until(lambda: ray.poll(handles[0]) is not None, 60) and ray.poll(handles[0]) == 0, ray.logs(directory)
    assert next(node.glob("runs/000009-*/taken.txt")).read_text() == hashlib.sha256(KEY.encode()).hexdigest()
    kept = [
        path.read_bytes() for folder in (data_folder, node, storage) for path in folder.rglob("*") if path.is_file()
    ]
    assert kept and all(KEY.encode() not in text for text in kept) and KEY not in str(stand_in.jobs)
