"""The worker with real recipe processes: what it records, and what is left after every kind of death."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.db import OperationalError

from annotate.models import LanguageModel
from tests.support.processes import until
from tests.support.training.runs import end_workers, in_a_thread, lines_of, make_run, start_worker
from training.models import Attempt, Run
from training.runs.launchers import recipe_process
from training.runs.ordering.actions import cancel
from training.runs.ordering.end_events import RUN_FINISHED
from training.runs.queue import preparation, supervision
from training.runs.worker import Worker

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_worker_outlives_its_test(transactional_db):
    yield
    end_workers()


def work() -> None:
    Worker(name="test", tick_seconds=0.02).work(once=True)


def test_a_run_is_carried_out_and_its_model_enters_the_arena():
    run = make_run(config={"steps": 5}, seed=3)
    work()
    run.refresh_from_db()
    assert (run.state, run.reason) == ("succeeded", "")
    assert [m.step for m in run.metrics.all()] == [1, 2, 3, 4, 5]
    assert run.metrics.first().values == {"score": 0.1, "kl": 0.5, "odd": None, "attempt": 1}
    assert run.samples.last().completion == "Because of step 5.\ufffd"
    assert run.result == {"score": 0.5, "odd": None, "parameters": 7}
    model = run.output_model
    assert (model.name, model.kind, model.stage, model.parent) == (run.name, "policy", "fake", run.parent)
    assert (model.path / "weights.bin").read_text() == "3 5"
    assert model.card["config"] == run.config and model.card["metrics"]["score"] == 0.5
    assert len(model.content_hash) == 64 and model.parameters == 7
    assert run.project.contestants.filter(model=model).exists()
    attempt = run.attempts.get()
    assert (attempt.state, attempt.exit_code, attempt.resumed_from_step) == ("succeeded", 0, None)
    assert attempt.handle and attempt.worker.startswith("test@")
    assert attempt.cpu_seconds > 0 and attempt.memory_bytes > 1_000_000


def test_an_attempt_remembers_the_gpus_that_it_held(monkeypatch):
    monkeypatch.setattr("training.runs.launchers.gpus.names", lambda: ("0", "1"))
    run = make_run()
    work()
    attempt = run.attempts.get()
    assert attempt.state == "succeeded" and attempt.gpus == 1
    assert attempt.started_at < attempt.gpus_since <= attempt.ended_at


def test_receivers_hear_that_a_run_has_finished_and_cannot_disturb_it():
    heard = []

    def receiver(run):
        heard.append((run.pk, run.state))
        raise RuntimeError("a receiver with a fault")

    with RUN_FINISHED.holding(receiver, keeps_registered=True):
        run = make_run()
        work()
    assert heard == [(run.pk, "succeeded")]
    assert Run.objects.get().state == "succeeded"


def test_a_killed_recipe_goes_on_from_its_last_checkpoint():
    run = make_run(config={"steps": 5, "death": "kill"})
    work()
    run.refresh_from_db()
    assert run.state == "succeeded"
    first, second = run.attempts.all()
    assert (first.state, first.exit_code) == ("lost", -9) and "killed" in first.reason
    assert (second.state, second.resumed_from_step) == ("succeeded", 2)
    assert lines_of(run.path / "steps.txt") == ["1:1", "1:2", "1:3", "2:3", "2:4", "2:5"]
    # Step 3 was taken twice and stands once: as the second attempt took it.
    assert [(m.sequence, m.step, m.values["attempt"]) for m in run.metrics.all()] == [
        (1, 1, 1), (2, 2, 1), (3, 3, 2), (4, 4, 2), (5, 5, 2),
    ]  # fmt: skip
    assert [s.step for s in run.samples.all()] == [1, 2, 3, 4, 5]


def test_a_leftover_of_the_killed_attempt_that_just_ends_does_not_fail_the_run(monkeypatch):
    """The parent watchdog of a killed worker ends its recipe while the next worker does: either may find it gone."""
    run = make_run(config={"steps": 5, "death": "kill"})
    shell = subprocess.Popen(["sleep", "60"])
    leftover = psutil.Process(shell.pid)

    def ends(process: psutil.Process, directory: Path) -> bool:
        shell.kill()
        shell.wait()
        return True

    monkeypatch.setattr(recipe_process.psutil, "process_iter", lambda: [leftover])
    monkeypatch.setattr(recipe_process, "works_in", ends)
    work()
    run.refresh_from_db()
    assert (run.state, run.reason) == ("succeeded", "")


def test_where_an_attempt_goes_on_is_recorded_though_the_database_was_locked_when_it_began(monkeypatch):
    run = make_run(config={"steps": 8, "step_seconds": 0.05, "death": "kill"})
    held, asked = supervision.holding, []

    def locked_once(attempt: Attempt) -> Any:
        if attempt.number == 2:
            asked.append(attempt)
        if len(asked) == 2:  # after the recipe was started
            raise OperationalError("database is locked")
        return held(attempt)

    monkeypatch.setattr(supervision, "holding", locked_once)
    work()
    run.refresh_from_db()
    second = run.attempts.last()
    assert run.state == "succeeded" and second.resumed_from_step == 2 and second.handle


def test_an_identity_is_written_once_so_that_no_death_tears_it(tmp_path):
    run = make_run()
    identity = preparation.prepare(run).path / "identity"
    before = identity.stat()
    preparation.prepare(run)
    assert (identity.stat().st_ino, identity.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_recipe_that_is_killed_every_time_is_given_up_in_words(settings):
    settings.RUN_MAX_ATTEMPTS = 3
    run = make_run(config={"steps": 9, "death": "kill", "always": True, "checkpoint_every": 100})
    work()
    run.refresh_from_db()
    assert (run.state, run.reason_code) == ("failed", "lost_too_often")
    assert "3 attempts" in run.reason and "batch_size" in run.remedy
    assert [a.state for a in run.attempts.all()] == ["lost", "lost", "failed"]
    assert not LanguageModel.objects.filter(name=run.name).exists()


def test_sampling_that_is_killed_again_and_again_but_gets_on_is_not_given_up(settings):
    settings.RUN_MAX_ATTEMPTS = 2
    run = make_run(config={"steps": 11, "death": "kill", "always": True, "samples": True, "checkpoint_every": 100})
    work()
    run.refresh_from_db()
    assert (run.state, run.reason) == ("succeeded", "")
    assert [a.resumed_from_step for a in run.attempts.all()] == [None, 3, 6, 9]


@pytest.mark.parametrize(
    ("death", "code", "words"),
    [
        ("failure", "too_few", "Three annotations tell nothing."),
        ("exit", "crashed", "exit status 3. Its last words: the dog ate the gradients"),
        ("segfault", "crashed", "SIGSEGV"),
        ("nothing", "no_result", "without a result"),
        ("full disk", "disk_full", "The disk is full."),
        ("surprise", "crashed", "unknown death 'surprise'"),
    ],
)
def test_a_failure_is_told_in_words_with_a_remedy_and_not_repeated(death, code, words):
    run = make_run(config={"death": death})
    work()
    run.refresh_from_db()
    assert (run.state, run.reason_code) == ("failed", code)
    assert words in run.reason and run.remedy
    assert run.attempts.get().state == "failed"
    assert run.metrics.count() == 3, "what was measured before it failed is kept"


def test_missing_weights_fail_the_run_before_a_process_starts():
    run = make_run()
    (run.parent.path / "config.json").unlink()
    run.parent.path.rmdir()
    work()
    run.refresh_from_db()
    assert (run.state, run.reason_code) == ("failed", "no_weights")
    assert run.parent.name in run.reason and run.remedy


def test_a_directory_of_another_run_with_the_same_number_is_set_aside():
    run = make_run()
    run.path.mkdir(parents=True)
    (run.path / "result.json").write_text('{"score": 99}')
    work()
    run.refresh_from_db()
    assert run.result["score"] == 0.4
    assert len(list(run.path.parent.glob(f"{run.path.name}.before-*"))) == 1


def test_output_that_cannot_be_used_fails_the_run_and_leaves_nothing(monkeypatch):
    run = make_run()
    monkeypatch.setattr("training.runs.queue.outputs.enter_arena", lambda **_: 1 / 0)
    work()
    run.refresh_from_db()
    assert (run.state, run.reason_code) == ("failed", "worker_error")
    assert run.output_model is None and not LanguageModel.objects.filter(name=run.name).exists()


def test_a_name_taken_meanwhile_does_not_lose_the_model():
    run = make_run(name="taken")
    LanguageModel.objects.create(name="taken", folder="models/elsewhere")
    work()
    run.refresh_from_db()
    assert run.state == "succeeded" and run.output_model.name == f"taken (run {run.pk})"


def test_cancelling_ends_a_recipe_that_ignores_sigterm_with_its_children(monkeypatch):
    monkeypatch.setattr("training.runs.launchers.local.GRACE_SECONDS", 0.3)
    run = make_run(config={"steps": 1000, "step_seconds": 0.05, "ignores_sigterm": True})
    worker = threading.Thread(target=in_a_thread(work))
    worker.start()
    until(lambda: run.metrics.exists())
    pids = [int(pid) for name in ("starts.txt", "child.txt") for pid in lines_of(run.path / name)]
    assert len(pids) == 2
    cancel(run=run, by=run.created_by)
    worker.join(20)
    run.refresh_from_db()
    assert (run.state, run.reason_code) == ("cancelled", "cancelled")
    assert run.attempts.get().state == "cancelled"
    until(lambda: not any(_is_alive(pid) for pid in pids), 30)
    assert run.metrics.exists(), "what it measured is kept"


@pytest.mark.slow
def test_kill_9_of_a_worker_ends_its_recipe_and_the_next_worker_goes_on():
    run = make_run(config={"steps": 40, "step_seconds": 0.05, "ignores_sigterm": True})
    first = start_worker("--name", "first")
    until(lambda: (run.path / "checkpoints" / "step-000004").exists())
    first.send_signal(signal.SIGKILL)
    first.wait()
    # A second worker at once, while the orphan may still be alive on its way out.
    second = start_worker("--once", "--name", "second")
    assert second.wait(60) == 0
    run.refresh_from_db()
    assert run.state == "succeeded"
    lost, won = run.attempts.all()
    assert lost.state == "lost" and won.state == "succeeded"
    assert won.resumed_from_step and won.resumed_from_step >= 4
    steps = [line.split(":") for line in lines_of(run.path / "steps.txt")]
    assert [attempt for attempt, _ in steps] == sorted(attempt for attempt, _ in steps), "never both at once"
    assert [m.step for m in run.metrics.all()] == list(range(1, 41))
    assert LanguageModel.objects.filter(name=run.name).count() == 1
    assert not any(_is_alive(int(pid)) for pid in lines_of(run.path / "starts.txt"))


@pytest.mark.slow
def test_a_worker_that_is_asked_to_end_gives_its_run_back_at_no_cost():
    run = make_run(config={"steps": 1000, "step_seconds": 0.05})
    worker = start_worker()
    until(lambda: run.metrics.exists())
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(15) == 0
    run.refresh_from_db()
    assert run.state == "queued"
    assert run.attempts.get().state == Attempt.State.CANCELLED
    assert not any(_is_alive(int(pid)) for pid in lines_of(run.path / "starts.txt"))


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
