"""Runs on hosts that share no file system: a data folder each, and a storage between them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from annotate.core.artefacts import local_copies
from annotate.models import Dataset, Project
from tests.support import tiny_model
from tests.support.factories import make_model, make_project, make_user
from tests.support.processes import until
from tests.support.training.cluster_runs import Working, is_finished
from tests.support.training.runs import end_workers, lines_of, make_run, make_weights, start_worker
from training import configs
from training.core.run_directory import RunDirectory
from training.models import Run
from training.runs.ordering import actions
from training.runs.worker import Worker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("recipes_are_forked"),
]
Host = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _no_worker_outlives_its_test(transactional_db: None) -> Iterator[None]:
    yield
    end_workers()


@pytest.fixture
def host(settings: Any, tmp_path: Path) -> Host:
    """Make this process one of another host: a data folder of its own, empty at first, and no way to the others'."""

    def become(name: str) -> Path:
        if settings.DATA_DIR.parent == tmp_path and settings.DATA_DIR.exists():
            settings.DATA_DIR.rename(tmp_path / f"{settings.DATA_DIR.name}-out-of-reach")
        data = tmp_path / name
        settings.DATA_DIR = data
        settings.RUNS_DIR, settings.MODELS_DIR, settings.DATASETS_DIR = (
            data / "runs",
            data / "models",
            data / "datasets",
        )
        for folder in (settings.RUNS_DIR, settings.MODELS_DIR, settings.DATASETS_DIR):
            folder.mkdir(parents=True, exist_ok=True)
        return data

    return become


def work() -> None:
    Worker(name="test", tick_seconds=0.02).work(once=True)


def stored_run(**fields: Any) -> Run:
    """A run of the fake kind whose parent is in the storage."""
    parent = make_weights()
    assert parent.path is not None
    local_copies.keep(parent.path)
    return make_run(parent=parent, **fields)


def artefact(run: Run) -> str:
    return local_copies.name_of(run.path)


def ended(run: Run) -> Run:
    run.refresh_from_db()
    return run


def test_another_host_brings_the_parent_and_shows_what_a_run_left(storage, host):
    host("one")
    run = stored_run(config={"steps": 5})
    work()
    assert (ended(run).state, run.reason) == ("succeeded", "")
    manifest = local_copies.store().verify(artefact(run))
    names = {entry.path for entry in manifest.entries}
    assert {"model/weights.bin", "result.json", "metrics.jsonl", "log.txt", "config.json"} <= names
    assert not [name for name in names if name.startswith(("checkpoints/", "node/", "lock"))]
    own = {path.name for path in (storage / "own").rglob("*") if path.is_file()}
    assert own == {entry.sha256 for entry in manifest.entries if entry.pool}, "checkpoints went with the run's end"
    two = host("two")
    child = make_run(run.project, parent=run.output_model)
    work()
    assert (ended(child).state, child.reason) == ("succeeded", "")
    assert (two / artefact(run) / "model/weights.bin").read_text() == "0 5"
    assert [path.name for path in (two / artefact(run)).iterdir()] == ["model"], "no more than what was asked for"
    three = host("three")
    log = local_copies.bring_file(child.path / "log.txt")
    assert "step 4" in log.read_text() and log.is_relative_to(three / "glimpses") and not child.path.exists()
    assert local_copies.is_available(child.path / "model") and not local_copies.is_available(child.path / "none")


def test_a_run_waits_for_a_storage_that_is_gone_and_says_so(storage, host, monkeypatch):
    monkeypatch.setattr("training.runs.queue.run_transfers._PAUSE_SECONDS", 0.2)
    host("one")
    run = stored_run(config={"steps": 3, "step_seconds": 0.2})
    with Working():
        until(lambda: lines_of(run.path / "steps.txt"), 60, "it has begun")
        storage.rename(storage.with_name("away"))
        until(lambda: "waiting for the storage" in ended(run).phase, 60, "its page says what it waits for")
        assert (run.state, run.output_model) == ("running", None) and (run.path / "result.json").exists()
        storage.with_name("away").rename(storage)
        until(lambda: is_finished(run), 60)
    assert ended(run).state == "succeeded" and run.attempts.count() == 1
    local_copies.store().verify(artefact(run))


def test_a_worker_that_is_killed_while_it_waits_for_the_storage_costs_no_step(storage, host, monkeypatch):
    host("one")
    run = stored_run(config={"steps": 5})
    storage.rename(storage.with_name("away"))
    monkeypatch.setenv("ASSAY_STORAGE", str(storage))
    worker = start_worker(lease_seconds=30)  # the run begins: what it needs is here
    until(lambda: "waiting for the storage" in ended(run).phase and (run.path / "result.json").exists(), 60)
    worker.kill()
    worker.wait()
    storage.with_name("away").rename(storage)
    work()
    assert (ended(run).state, run.attempts.count()) == ("succeeded", 2)
    assert [line.split(":")[1] for line in lines_of(run.path / "steps.txt")] == ["1", "2", "3", "4", "5"]
    local_copies.store().verify(artefact(run))


def test_a_run_that_failed_goes_on_from_its_checkpoint_on_another_host(storage, host):
    host("one")
    run = stored_run(config={"steps": 6, "death": "failure"})
    work()
    assert (ended(run).state, run.reason_code) == ("failed", "too_few")
    host("two")
    actions.resume(run=run, by=run.created_by)
    work()
    assert (ended(run).state, run.reason) == ("succeeded", "")
    assert run.attempts.last().resumed_from_step == 2
    assert lines_of(run.path / "steps.txt") == ["1:1", "1:2", "1:3", "2:3", "2:4", "2:5", "2:6"]
    assert [metric.step for metric in run.metrics.all()] == [1, 2, 3, 4, 5, 6]


def test_a_host_goes_on_from_the_newer_of_its_own_directory_and_the_stored_one(storage, host):
    host("one")
    run = stored_run(config={"steps": 4, "death": "failure"})
    work()
    stored = local_copies.store().manifest(artefact(run))
    checkpoint = RunDirectory(run.path).latest_checkpoint()
    (checkpoint / "step").write_text("3")
    checkpoint.rename(checkpoint.with_name("step-000003"))
    actions.resume(run=ended(run), by=run.created_by)
    work()
    assert ended(run).attempts.last().resumed_from_step == 3 and stored.entry("checkpoints/step-000002/step")


def test_each_checkpoint_is_stored_while_the_run_works(storage, host):
    host("one")
    run = stored_run(config={"steps": 100, "step_seconds": 0.1})
    with Working():
        until(lambda: _stored_steps(run), 60, "a checkpoint is stored")
        first = _stored_steps(run)
        until(lambda: min(_stored_steps(run)) > max(first), 60, "the next one")
    assert ended(run).state == "queued" and len(_stored_steps(run)) == 1, "earlier ones go with the latest"
    local_copies.store().verify(artefact(run))


def _stored_steps(run: Run) -> set[int]:
    store = local_copies.store()
    entries = store.manifest(artefact(run)).entries if store.has(artefact(run)) else ()
    return {int(entry.path.split("-")[1][:6]) for entry in entries if entry.path.startswith("checkpoints/")}


def test_a_truncated_parent_is_refused_in_words_and_nothing_trains_on_it(storage, host):
    host("one")
    run = stored_run()
    work()
    entry = local_copies.store().manifest(artefact(run)).entry("model/weights.bin")
    (storage / entry.blob).write_text("0")
    host("two")
    child = make_run(run.project, parent=ended(run).output_model)
    work()
    assert (ended(child).state, child.reason_code) == ("failed", "storage")
    assert child.reason == (
        f"{artefact(run)} in the storage is damaged: model/weights.bin has 1 bytes where 3 were stored. It is not used."
    )
    assert "store_artefacts --again" in child.remedy and not (child.path / "starts.txt").exists()


EXAMPLES = [
    {"prompt": [{"role": "user", "content": f"say {word}"}], "completion": f"{word} {word}", "prompt_id": number}
    for number, word in enumerate(["one", "two", "three", "four", "five", "six", "seven", "eight"])
]


@pytest.mark.thorough
def test_a_child_is_the_same_from_fetched_files_as_from_local_ones(storage, host):
    """LoRA over LoRA: the child needs its parent's adapter and the base's weights, on a host that has neither. From S3
    a run fetches its files in test_ray_cluster."""
    host("one")
    project = make_project(eval_percent=0)
    base = make_model(name="base", folder="models/base")
    tiny_model.make_elsewhere(base.path)
    local_copies.keep(base.path)
    dataset = _examples(project)
    parent = _sft(project, "parent", base, dataset)
    here = _sft(project, "child", parent.output_model, dataset)
    two = host("two")
    there = _sft(project, "child again", parent.output_model, dataset)
    assert here.output_model.content_hash == there.output_model.content_hash
    assert (two / "models/base/config.json").exists() and (two / f"runs/{parent.pk:06d}/model").is_dir()
    values = [[metric.values["loss"] for metric in run.metrics.all()] for run in (here, there)]
    assert values[0] == values[1] and values[0]


def _examples(project: Project) -> Dataset:
    dataset = Dataset.objects.create(
        project=project, name="examples", kind="sft", side="train", content_hash="e" * 64, counts={"examples": 8}
    )
    dataset.path.mkdir(parents=True)
    (dataset.path / "examples.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in EXAMPLES))
    local_copies.keep(dataset.path)
    return dataset


def _sft(project: Project, name: str, parent: Any, dataset: Dataset) -> Run:
    run = Run.objects.create(
        kind="sft", name=name, project=project, parent=parent, dataset=dataset, seed=5,
        created_by=make_user(project, role="researcher"),
        config=asdict(configs.CONFIGS["sft"]()) | {"epochs": 1.0, "batch_size": 4},
    )  # fmt: skip
    work()
    assert (ended(run).state, run.reason) == ("succeeded", ""), run.reason
    return run
