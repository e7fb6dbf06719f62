"""Failures provoked for real: each is recognised, explained, keeps its checkpoint and has its remedy a click away."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from django.conf import settings
from django.urls import reverse

from tests.support.factories import make_user, sign_in
from tests.support.sampling_of_cases import plain_run_tries
from tests.support.training.runs import make_dataset, make_run, make_weights
from training import configs
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec
from training.models import Run
from training.recipes.common import entry
from training.runs.launchers import confinement
from training.runs.launchers import host_memory as memory
from training.runs.launchers.host_memory import Watch
from training.runs.ordering import remedies
from training.runs.present.failure_remedies import remedies_of
from training.runs.worker import Worker

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def researcher(project, client):
    return sign_in(client, project, "researcher")


def died(death: str, project=None, **fields) -> Run:
    """A run that took three steps, kept a checkpoint at the second, and died like this in each attempt."""
    run = make_run(project, config={"death": death, "always": True}, **fields)
    Worker(name="test", tick_seconds=0.02).work(once=True)
    run.refresh_from_db()
    assert run.state == "failed", (run.state, run.reason)
    assert RunDirectory(run.path).kept_step() == 2, "the last good checkpoint is kept"
    return run


def killed() -> Run:
    """A run that is killed each time before its first checkpoint, and lives long enough for its memory to be read."""
    run = make_run(config={"death": "kill", "always": True, "checkpoint_every": 1000, "step_seconds": 0.1})
    Worker(name="test", tick_seconds=0.02).work(once=True)
    run.refresh_from_db()
    return run


def page(client, run: Run) -> str:
    return client.get(reverse("run", args=[run.pk])).content.decode()


@pytest.mark.parametrize("death", ["memory", "abort for want of memory"])
def test_a_process_without_memory_is_told_to_take_half(client, project, researcher, death):
    run = died(death, project)
    assert (run.reason_code, run.remedy_changes) == ("out_of_memory", {"batch_size": 4})
    assert "not have enough memory" in run.reason and run.attempts.count() == 1
    text = page(client, run)
    assert "Queue again with batch_size 4" in text and "it continues from step 2" in text
    responses = [client.post(reverse("queue-again", args=[run.pk]), {"key": "k"}) for _ in range(2)]
    again = Run.objects.get(cloned_from=run)
    assert [r.url for r in responses] == [reverse("run", args=[again.pk])] * 2, "twice the button is once"
    assert again.config == {**run.config, "batch_size": 4} and again.state == "queued"
    assert (again.parent, again.seed, again.name) == (run.parent, run.seed, run.name)


def test_a_kill_for_want_of_memory_is_tried_once_more_and_then_explained(monkeypatch):
    monkeypatch.setattr(memory, "limit", lambda: 1_000_000)  # the recipe holds more than all there is
    monkeypatch.setattr(confinement, "memory_limit", lambda: 0)  # and is let start all the same
    run = killed()
    assert (run.reason_code, run.remedy_changes) == ("out_of_memory", {"batch_size": 4})
    assert [a.state for a in run.attempts.all()] == ["lost", "failed"]
    assert "because memory ran out" in run.attempts.first().reason


def test_a_kill_by_hand_is_no_want_of_memory():
    run = killed()
    assert run.reason_code == "lost_too_often" and run.remedy_changes == {}
    assert run.attempts.count() == settings.RUN_MAX_ATTEMPTS


def test_the_kernels_counts_tell_who_killed(tmp_path, monkeypatch):
    events, vmstat, limit = tmp_path / "memory.events", tmp_path / "vmstat", tmp_path / "memory.max"
    events.write_text("low 0\noom 1\noom_kill 1\noom_group_kill 5\n")
    vmstat.write_text("nr_free_pages 7\noom_kill 3\n")
    limit.write_text("4000000000\n")
    monkeypatch.setattr(memory, "_COUNTS", (events, vmstat, tmp_path / "absent"))
    monkeypatch.setattr(memory, "_LIMITS", (tmp_path / "absent", limit))
    watch = Watch.begin()
    assert watch == Watch(4, 4_000_000_000)
    assert not watch.was_for_want_of_memory(1_000_000_000)
    assert watch.was_for_want_of_memory(3_900_000_000), "it held nearly all, whatever the counts say"
    events.write_text("oom_kill 2\n")
    assert watch.was_for_want_of_memory(1_000_000_000)
    assert not watch.was_for_want_of_memory(10_000_000), "the kernel chose somebody else"
    limit.write_text("max\n")
    assert Watch.begin().limit > 4_000_000_000


def test_a_run_that_diverged_is_queued_again_more_slowly(client, project, researcher):
    run = died("diverged", project)
    assert run.remedy_changes == {"learning_rate": 1e-4}
    assert "Queue again with learning_rate 0.0001" in page(client, run)
    form = client.get(remedies_of(run)[1].href).context["form"]
    assert float(form["config.learning_rate"].value()) == 1e-4 and form["config.steps"].value() == 4


def test_a_recipe_may_name_its_own_remedy(client, project, researcher):
    run = died("own remedy", project)
    assert run.remedy_changes == {"steps": 2} and "Queue again with steps 2" in page(client, run)


def test_a_full_disk_is_made_room_on_and_the_run_goes_on(client, project, researcher):
    run = died("no room", project)
    assert run.reason_code == "disk_full"
    assert "See what lies on the disk" in page(client, run)
    other = make_run(project, state="cancelled")
    for step in (10, 20):
        (RunDirectory(other.path).begin_checkpoint(step) / "weights").write_bytes(b"x" * 2_000_000)
        RunDirectory(other.path).commit_checkpoint(step)
    assert "Prune checkpoints of ended runs (frees 2 MB) and resume" in page(client, run)
    client.post(reverse("resume-run", args=[run.pk]), {"prune": "1"})
    run.refresh_from_db()
    assert run.state == "queued" and RunDirectory(run.path).kept_step() == 2
    assert [p.name for p in RunDirectory(other.path).complete_checkpoints()] == ["step-000020"]


def test_a_disk_that_is_really_full(tmp_path):
    """A file system of one megabyte below the checkpoints, in a mount namespace of the recipe's own."""
    run = RunDirectory(tmp_path / "run")
    run.create(RunSpec("fake", {"steps": 3}))
    run.checkpoints.mkdir()
    mount = f"mount -t tmpfs -o size=1m tmpfs {run.checkpoints}"
    if (
        not shutil.which("unshare")
        or subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode
    ):
        pytest.skip("This system lets nobody mount a file system for a test.")
    recipe = f"{sys.executable} -m tests.support.training.large_checkpoint {run.path}"
    command = ["unshare", "-rm", "sh", "-c", f"{mount} && exec {recipe}"]
    done = subprocess.run(command, cwd=settings.BASE_DIR, timeout=60, capture_output=True)
    failure = run.failure()
    assert done.returncode == 1 and failure is not None and failure["code"] == "disk_full", done.stderr


def test_a_missing_file_is_named(client, project, researcher):
    run = died("missing file", project)
    assert run.reason_code == "missing_file" and "rows.jsonl" in run.reason


@pytest.mark.parametrize("field", ["parent", "dataset"])
def test_what_a_run_starts_from_may_be_gone_and_another_is_one_click_away(client, project, researcher, field):
    run = make_run(project, dataset=make_dataset(project))
    shutil.rmtree(getattr(run, field).path)
    Worker(tick_seconds=0.02).work(once=True)
    run.refresh_from_db()
    assert run.state == "failed" and str(getattr(run, field).path) in run.reason
    [remedy] = remedies_of(run)
    assert remedy.label == f"Queue again with another {field}" and remedy.label in page(client, run)


def test_a_dataset_too_small_leads_to_another(project):
    run = make_run(
        project, kind="sft", state="failed", dataset=make_dataset(project, kind="sft"), reason_code="too_few_examples"
    )
    [remedy] = remedies_of(run)
    assert remedy.label == "Queue again with another dataset" and "dataset=" in remedy.href


def test_whoever_may_not_start_runs_sees_no_button(client, project):
    run = make_run(project, state="failed", reason_code="out_of_memory", remedy_changes={"batch_size": 4})
    client.force_login(make_user(project))
    assert "Queue again with batch_size" not in page(client, run)
    assert client.post(reverse("queue-again", args=[run.pk])).status_code == 403
    assert Run.objects.count() == 1


def test_resuming_forgets_the_remedy(client, project, researcher):
    run = make_run(project, state="failed", reason_code="out_of_memory", remedy_changes={"batch_size": 4})
    client.post(reverse("resume-run", args=[run.pk]))
    run.refresh_from_db()
    assert run.remedy_changes == {}


def test_a_name_that_was_taken_meanwhile_is_told(client, project, researcher):
    run = make_run(project, state="failed", reason_code="out_of_memory", remedy_changes={"batch_size": 4})
    make_weights(name=run.name)
    response = client.post(reverse("queue-again", args=[run.pk]))
    assert response.status_code == 409 and "choose another name" in response.content.decode()


@pytest.mark.parametrize("kind", ["sft", "ppo", "grpo", "reward", "pretrain", "domain", "classify", "dpo"])
def test_memory_is_given_up_in_valid_steps_until_nothing_is_left_to_give(kind):
    config, seen = asdict(configs.CONFIGS[kind]()), []
    while changes := remedies.changes_for("out_of_memory", kind, config):
        config |= changes
        configs.parse(kind, config)
        seen.append(changes)
        assert len(seen) < 100
    assert seen, "there is something to give up to begin with"


@pytest.mark.parametrize("kind", ["pretrain", "domain", "classify"])
def test_a_rate_that_nobody_chose_is_lowered_too(kind):
    config = configs.CONFIGS[kind]()
    used = getattr(config, "rate", None) or config.peak_rate
    changes = remedies.changes_for("not_finite", kind, asdict(config))
    assert changes["learning_rate"] == pytest.approx(used / 3, rel=0.05)


def test_what_costs_time_alone_is_given_up_before_what_changes_the_result():
    config, seen = asdict(configs.CONFIGS["pretrain"]()), []
    for _ in range(3):
        changes = remedies.changes_for("out_of_memory", "pretrain", config)
        config |= changes
        seen += changes
    assert seen[:2] == ["micro_batch_size", "activation_checkpointing"] and config["batch_size"] == 32


def test_no_option_is_the_remedy_of_what_no_option_can_remedy():
    config = asdict(configs.CONFIGS["sft"]())
    assert remedies.changes_for("too_few_examples", "sft", config) == {}
    assert remedies.changes_for("out_of_memory", "of another app", {"batch_size": 8}) == {}
    assert remedies.changes_for("not_finite", "sft", config | {"learning_rate": 1e-8}) == {}, "below the least allowed"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "out_of_memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out_of_memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), "out_of_memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"), "out_of_memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk_full"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.safetensors"), "missing_file"),
        (RecipeFailure("own", "m", "r", {"steps": 1}), "own"),
        (KeyError("surprise"), "crashed"),
    ],
)
def test_errors_are_told_apart(error, code):
    assert entry.describe(error).code == code


@pytest.mark.slow
@pytest.mark.parametrize("what", plain_run_tries("torch", of=("torch", "numpy", "weights on a full disk", "token")))
def test_the_libraries_own_errors_are_recognised(tmp_path, what):
    run = RunDirectory(tmp_path / "run")
    run.create(RunSpec(what, {}))
    command = [sys.executable, "-m", "tests.support.training.library_errors", str(run.path)]
    subprocess.run(command, cwd=settings.BASE_DIR, timeout=120, capture_output=True)
    failure = run.failure()
    wanted = {"weights on a full disk": "disk_full", "token": "tokenizer_mismatch"}
    assert failure is not None and failure["code"] == wanted.get(what, "out_of_memory"), Path(run.path).name
