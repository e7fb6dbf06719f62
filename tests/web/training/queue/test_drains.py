"""A worker is kept from new runs for maintenance, finishes or gives back what it has, and goes on afterwards."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone

from annotate.models import AuditEntry
from tests.support.factories import sign_in
from tests.support.training.runs import make_run
from training.models import Attempt, Drain, Run
from training.runs.queue import drains, supervision, worker_names
from training.runs.worker import Worker

pytestmark = pytest.mark.django_db


def drain(*arguments: str) -> str:
    out = StringIO()
    call_command("drain_worker", *arguments, stdout=out)
    return out.getvalue()


def test_a_mark_names_a_worker_a_host_or_both():
    worker = "gpu@node-3:4026531836:4711:1700000000"
    for name in ("gpu", "node-3", "gpu@node-3", worker):
        mark = drains.drain(name)
        assert drains.drain_of(worker) == mark
        assert drains.drain_of("cpu@node-4:1:2:3") is None
        assert drains.undo(name) and drains.drain_of(worker) is None


def test_a_name_that_is_too_long_for_a_row_is_found_all_the_same(project, monkeypatch):
    name, host = "assay-worker-gpu-7d9c8b6f5d-x2k4q", f"{'node-7' * 9}.example"
    monkeypatch.setattr(worker_names.os, "uname", lambda: SimpleNamespace(nodename=host))
    make_run(project)
    worker = worker_names.identity(name)
    supervision.claim(worker=worker, launcher="test")
    for mark in (name, host, f"{name}@{host}"):
        assert drain(mark) == f"{mark}: draining, 1 run at work\n"
        assert drains.drain_of(worker) == Drain.objects.get() and drains.draining_among([worker]) == [worker]
        drain(mark, "--undo")


def test_the_command_says_whether_a_worker_still_works(project):
    make_run(project)
    attempt = supervision.claim(worker=worker_names.identity("gpu"), launcher="test")
    assert drain("gpu") == "gpu: draining, 1 run at work\n" == drain()
    Attempt.objects.filter(pk=attempt.pk).update(state="succeeded")
    assert drain() == "gpu: drained, 0 runs at work\n"
    assert drain("gpu", "--undo") == "gpu takes runs again.\n" and drain() == ""
    assert list(AuditEntry.objects.order_by("id").values_list("action", "about")) == [
        ("worker.drained", "gpu"),
        ("worker.undrained", "gpu"),
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("gpu", "--undo"), "No worker gpu is drained"),
        (("--now",), "Name the worker"),
        (("gpu", "--now", "--undo"), "either --now or --undo"),
    ],
)
def test_the_command_refuses_what_it_cannot_do(arguments, words):
    with pytest.raises(CommandError, match=words):
        drain(*arguments)


@pytest.fixture
def worker(monkeypatch) -> Worker:
    """A worker whose rounds the test makes, and which follows no recipe."""
    monkeypatch.setattr("training.runs.worker.close_broken_connection", lambda: None)
    worker = Worker(name="gpu", concurrency=2)
    monkeypatch.setattr(worker, "_follow_safely", lambda one: None)
    return worker


def states(*runs: Run) -> list[str]:
    return [Run.objects.get(pk=run.pk).state for run in runs]


def test_a_drained_worker_keeps_its_run_takes_no_other_and_goes_on_when_undone(project, worker):
    first = make_run(project)
    worker._tick()
    drain("gpu")
    second = make_run(project)
    worker._tick()
    assert states(first, second) == ["running", "queued"]
    drain("gpu", "--undo")
    worker._tick()
    assert states(first, second) == ["running", "running"]


def test_drained_at_once_it_gives_its_runs_back_and_that_counts_against_nothing(project, worker):
    runs = [make_run(project) for _ in range(2)]
    worker._tick()
    assert states(*runs) == ["running", "running"]
    drain("gpu", "--now")
    worker._tick()
    assert states(*runs) == ["queued", "queued"] and not worker.supervised
    other = supervision.claim(worker=worker_names.identity("spare"), launcher="test")
    assert other is not None and (other.run, other.number) == (runs[0], 2)


def test_a_drained_worker_adopts_nothing(project, worker, monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr(worker, "_adopt", lambda attempts: asked.append("adopt"))
    drain("gpu")
    worker._tick()
    assert not asked
    drain("gpu", "--undo")
    worker._tick()
    assert asked == ["adopt"]


def test_pages_say_that_a_worker_is_drained(client, project):
    run = make_run(project, queued_at=timezone.now() - timedelta(minutes=1))
    Drain.objects.create(name="gpu@node-3")
    assert "the worker is drained for maintenance" in client.get(reverse("run", args=[run.pk])).content.decode()
    sign_in(client, project, "researcher")
    text = client.get(reverse("runs", args=[project.slug])).content.decode()
    assert "Worker gpu@node-3 is drained for maintenance." in text
