"""Runs on a real Ray cluster of two nodes: a run leaves what it leaves by `local`, and where its worker, a raylet or a
node is killed, each step is taken by one attempt and the run ends once.

`benchmarks/cluster_faults.py` kills recipe, raylet and head, at a small size in `tests/site/whole/test_benchmarks.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

import psutil
import pytest

from annotate.core.artefacts import local_copies
from annotate.models import LanguageModel
from tests.conftest import missing
from tests.support import tiny_model
from tests.support.factories import make_model, make_project, make_user
from tests.support.processes import alive, until
from tests.support.s3_server import BUCKET, s3_server
from tests.support.training import corpora
from tests.support.training.cluster_runs import (
    Working,
    assert_each_step_once_and_no_two_at_once,
    has_steps,
    is_finished,
)
from tests.support.training.preference_runs import prompt
from tests.support.training.ray_cluster import RayCluster, ray_cluster
from tests.support.training.runs import end_workers, lines_of, make_dataset, make_run, start_worker
from training import configs
from training.models import Run
from training.runs.launchers import ray
from training.runs.ordering.actions import cancel
from training.runs.worker import Worker

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("recipes_are_forked"),
]
LEASE_SECONDS = 3.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    if find_spec("ray") is None:
        missing("Ray", "python -m pip install -r requirements-dev.txt -c requirements.lock")
    with ray_cluster() as made:
        yield made


@pytest.fixture
def on_ray(cluster: RayCluster, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[RayCluster]:
    settings.RUN_LAUNCHER, settings.RUN_LEASE_SECONDS, settings.RAY_MEMORY_FACTOR = "ray", LEASE_SECONDS, 0.0
    settings.RAY_ADDRESS, settings.RAY_AUTH_TOKEN = cluster.url, cluster.token
    settings.SECRET_KEY = f"of one test {time.time_ns()}"  # names of jobs differ from those of the test before
    variables = {
        "RUN_LAUNCHER": "ray", "RAY_ADDRESS": cluster.url, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": cluster.token,
        "RAY_MEMORY_FACTOR": "0", "SECRET_KEY": settings.SECRET_KEY,
    }  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    yield cluster
    end_workers()
    ray._jobs.clear()


def pid_of(run: Run) -> int:
    return int(lines_of(run.path / "starts.txt")[-1])


def started(**config: Any) -> Run:
    return make_run(config={"steps": 3, "step_seconds": 0.2, **config})


def sft_run(name: str, **options: Any) -> Run:
    """A real run of the tiny model, by the real recipe."""
    project = make_project()
    parent = make_model(name=f"parent of {name}")
    tiny_model.make_elsewhere(parent.path)
    dataset = make_dataset(project, kind="sft")
    (dataset.path / "prompts.jsonl").unlink()
    rows = [{"prompt": prompt(n), "completion": "abab" * (1 + n % 4)} for n in range(24)]
    (dataset.path / "examples.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    config = asdict(configs.CONFIGS["sft"]()) | {"epochs": 1.0, "batch_size": 4, "checkpoint_every": 2}
    config |= options
    return Run.objects.create(
        kind="sft", name=name, project=project, parent=parent, dataset=dataset, config=config, seed=5,
        created_by=make_user(project, role="researcher"),
    )  # fmt: skip


def pretrain_run(name: str, **options: Any) -> Run:
    """A real run of a model of random weights on a corpus of two hundred texts."""
    project = make_project()
    tokenizer = make_model(name=f"tokenizer of {name}", kind=LanguageModel.Kind.TOKENIZER)
    corpora.make_tokenizer(tokenizer.path)
    dataset = make_dataset(project, kind="corpus")
    (dataset.path / "prompts.jsonl").unlink()
    corpora.write_corpus(dataset.path, corpora.texts(200), corpora.texts(40, seed=1))
    config = {"size": "1M", "context_length": 64, "batch_size": 4, "checkpoint_every": 2, "epochs": 999.0, **options}
    return Run.objects.create(
        kind="pretrain", name=name, project=project, parent=tokenizer, dataset=dataset, seed=5,
        config=asdict(configs.parse("pretrain", config)), created_by=make_user(project, role="researcher"),
    )  # fmt: skip


def recipes_of(run: Run) -> list[int]:
    """The processes of a run's recipe, on whichever node."""
    of_run = f"/runs/{run.path.name}-"
    lines = ((one.pid, " ".join(one.info["cmdline"] or ())) for one in psutil.process_iter(["cmdline"]))
    return [pid for pid, line in lines if "training.recipes" in line and of_run in line]


def kept(run: Run) -> dict[str, Any]:
    """Weights by their hash, and the figures but for what the clock says."""
    run.refresh_from_db()
    assert (run.state, run.reason) == ("succeeded", ""), ray.logs(run.path)
    folder = run.output_model.path
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.safetensors"))}
    clock = ("seconds", "per_second", "memory")
    rows = [
        (row.sequence, row.step, {k: v for k, v in row.values.items() if not any(word in k for word in clock)})
        for row in run.metrics.all()
    ]
    assert files and rows
    return {"files": files, "rows": rows}


def test_cancelling_ends_the_recipe_on_its_node(on_ray: RayCluster) -> None:
    run = started(steps=1000)
    with Working():
        until(lambda: run.metrics.exists(), 90)
        cancel(run=run, by=run.created_by)
        until(lambda: is_finished(run), 60)
    run.refresh_from_db()
    assert (run.state, run.reason_code) == ("cancelled", "cancelled") and not alive(pid_of(run))


def test_a_run_that_no_node_can_hold_fails_in_words_where_ray_is_silent(on_ray: RayCluster, settings) -> None:
    settings.RAY_CPUS_PER_PROCESS, settings.RAY_NODE_WAIT_SECONDS = 64.0, 6.0
    run = started()
    with Working():
        until(lambda: "no node has enough resources" in Run.objects.get(pk=run.pk).phase, 60)
        until(lambda: is_finished(run), 60)
    run.refresh_from_db()
    assert (run.state, run.reason_code) == ("failed", "no_node")
    assert "It asks for 64 CPUs on one node; the largest of 2 nodes has" in run.reason and "2 CPUs" in run.reason


def test_a_full_cluster_is_waited_for_and_the_next_run_follows(on_ray: RayCluster, settings) -> None:
    settings.RAY_CPUS_PER_PROCESS = 2.0
    first, second = started(steps=40), started(steps=3)
    with Working():
        until(lambda: "waiting for free resources" in Run.objects.get(pk=second.pk).phase, 90)
        until(lambda: is_finished(first) and is_finished(second), 120)
    assert_each_step_once_and_no_two_at_once(first, 40)
    assert_each_step_once_and_no_two_at_once(second, 3)


def test_keys_are_in_nothing_that_ray_keeps(on_ray: RayCluster, data_folder, settings) -> None:
    settings.RUN_LEASE_SECONDS = 60.0  # nobody beats here
    directory = data_folder / "runs" / "000009"
    directory.mkdir()
    key = "sk-secret-of-a-laboratory"
    ray.begin(directory, 1)
    secrets = {"parent": ("https://models.example/v1", key)}
    handle = ray.submit(directory, "tests.support.training.secret_taker", secrets)
    assert until(lambda: ray.poll(handle) is not None, 90) and ray.poll(handle) == 0, ray.logs(directory)
    assert (directory / "taken.txt").read_text() == hashlib.sha256(key.encode()).hexdigest()
    kept_files = [p for folder in (on_ray.folder, data_folder) for p in folder.rglob("*") if p.is_file()]
    assert any("job-driver-assay" in path.name for path in kept_files)
    assert not [path for path in kept_files if key.encode() in path.read_bytes()]
    ray.forget(handle)


def test_kill_9_of_the_worker_and_another_adopts_its_recipe(on_ray: RayCluster) -> None:
    run = started(steps=60)
    worker = start_worker("--name", "first", lease_seconds=LEASE_SECONDS)
    until(lambda: has_steps(run), 120)
    recipe = pid_of(run)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    with Working("second"):
        until(lambda: run.attempts.get().worker.startswith("second@"), 30, "the second worker adopts the run")
        until(lambda: is_finished(run), 120)
    assert_each_step_once_and_no_two_at_once(run, 60)
    assert run.attempts.count() == 1 and lines_of(run.path / "starts.txt") == [str(recipe)]


def test_a_run_by_ray_leaves_what_local_leaves(on_ray: RayCluster, settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as a run on Ray has it that asks for one CPU
    by_ray = sft_run("by-ray")
    with Working():
        until(lambda: is_finished(by_ray), 240, "the run on Ray ends")
    second = next(row for row in on_ray.alive_nodes() if not row["is_head_node"])
    assert by_ray.attempts.get().node == f"{os.uname().nodename} (Ray node {second['node_id'][:8]})"
    settings.RUN_LAUNCHER = "local"
    by_local = sft_run("by-local")
    Worker(name="test", tick_seconds=0.1).work(once=True)
    assert kept(by_ray) == kept(by_local)


def test_a_run_over_two_nodes_survives_one_of_them_and_learns_what_one_process_learns(
    on_ray: RayCluster, settings: Any, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share no folder, and each holds a share of the weights; the new node has nothing. The last test: it leaves
    the cluster no second node."""
    settings.RUN_LEASE_SECONDS = 10.0
    monkeypatch.setenv("ASSAY_DTYPE", "float32")
    options = {"epochs": 6.0, "checkpoint_every": 2, "held_out": 0.2, "evaluate_every": 2, "keep": "best"}
    with s3_server() as server, monkeypatch.context() as environment:
        for name, value in server.variables.items():
            environment.setenv(name, value)
        settings.STORAGE = f"s3://{BUCKET}/over-nodes"  # a storage is opened once by its address
        over_nodes = sft_run("over-nodes", processes=2, nodes=2, sharding="full", **options)
        on_ray.kill_node()
        on_ray.start_node(cpus=1, ASSAY_DATA=str(tmp_path / "first"), **server.variables)
        node = on_ray.add_node(cpus=1, ASSAY_DATA=str(tmp_path / "second"), **server.variables)
        try:
            with Working():
                until(lambda: is_stored(over_nodes), 240, "both nodes take steps", every=0.5)
                on_ray.kill(node)
                node = on_ray.add_node(cpus=1, ASSAY_DATA=str(tmp_path / "third"), **server.variables)
                until(lambda: is_finished(over_nodes), 400, "the run ends on a new node", every=0.5)
                cancelled = pretrain_run("cancelled", processes=2, nodes=2)
                until(lambda: is_stored(cancelled), 240, "pretraining takes steps on both nodes", every=0.5)
                assert len(recipes_of(cancelled)) >= 2
                cancel(run=cancelled, by=cancelled.created_by)
                until(lambda: is_finished(cancelled), 120, "it is cancelled", every=0.5)
                until(lambda: not recipes_of(cancelled), 60, "nothing of it is left on either node", every=0.5)
        finally:
            on_ray.kill(node)
            on_ray.kill_node()
        local_copies.bring(Run.objects.get(pk=over_nodes.pk).output_model.path)
    cancelled.refresh_from_db()
    assert (cancelled.state, cancelled.reason_code) == ("cancelled", "cancelled")
    lost, last = over_nodes.attempts.order_by("number")
    assert (lost.state, last.state) == ("lost", "succeeded") and "Ray nodes" in last.node
    assert last.resumed_from_step is not None and last.resumed_from_step >= 2
    settings.STORAGE, settings.RUN_LAUNCHER = "", "local"
    by_one = sft_run("by-one", **options)
    Worker(name="test", tick_seconds=0.1).work(once=True)
    found, expected = (
        {row.step: row.values["loss"] for row in run.metrics.all() if "loss" in row.values}
        for run in (over_nodes, by_one)
    )
    assert list(found) == list(expected), "each step once"
    assert found == pytest.approx(expected, rel=1e-3)


def is_stored(run: Run) -> bool:
    manifest = local_copies.covering(run.path)
    return manifest is not None and any(entry.path.startswith("checkpoints/") for entry in manifest.entries)
