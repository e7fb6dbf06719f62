"""Whoever looks for work again and again is told by one statement whether anything has changed."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from annotate.core.background_worker import BackgroundWorker
from annotate.core.db.data_state import data_state
from annotate.core.periodic_tasks import PeriodicTask
from annotate.models import Project
from tests.support.factories import make_project

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


def by_another(work) -> None:
    """Do something over a connection of its own, as another process would."""

    def do() -> None:
        work()
        connection.close()

    thread = threading.Thread(target=do)
    thread.start()
    thread.join()


def test_reading_changes_nothing():
    make_project()
    before = data_state()
    by_another(lambda: list(Project.objects.all()))
    assert list(Project.objects.all()) and data_state() == before


def test_a_commit_of_ones_own_changes_it():
    before = data_state()
    make_project()
    assert data_state() != before


def test_a_commit_of_another_changes_it_and_so_does_the_end_of_one_that_was_under_way():
    project = make_project()
    has_written, may_commit = threading.Event(), threading.Event()

    def write() -> None:
        with transaction.atomic():
            Project.objects.filter(pk=project.pk).update(name="Chai")
            has_written.set()
            may_commit.wait(10)
        connection.close()

    thread = threading.Thread(target=write)
    thread.start()
    assert has_written.wait(10)
    during = data_state()
    may_commit.set()
    thread.join()
    assert data_state() != during and Project.objects.get().name == "Chai"


def test_within_a_transaction_nothing_is_said_to_be_unchanged():
    with transaction.atomic():
        assert data_state() != data_state()


def test_a_periodic_task_rests_while_nothing_changes_and_is_called_when_something_does():
    calls: list[int] = []
    worker = BackgroundWorker([PeriodicTask("looking", lambda: bool(calls.append(1)), every=0.0)])
    for _ in range(3):
        worker.round()
    assert len(calls) == 1
    by_another(make_project)
    for _ in range(3):
        worker.round()
    assert len(calls) == 2


def test_what_one_task_writes_is_seen_by_the_others():
    seen: list[int] = []
    looking = PeriodicTask("looking", lambda: bool(seen.append(Project.objects.count())), every=0.0)
    writing = PeriodicTask("writing", lambda: not Project.objects.exists() and bool(make_project()), every=0.0)
    worker = BackgroundWorker([looking, writing])
    for _ in range(4):
        worker.round()
    assert seen == [0, 1]


def test_a_task_with_something_in_hand_or_whose_last_call_failed_does_not_rest():
    calls: list[str] = []

    def fail() -> bool:
        calls.append("failing")
        raise RuntimeError("a fault")

    holding = PeriodicTask("holding", lambda: bool(calls.append("holding")), every=0.0, in_hand=lambda: True)
    worker = BackgroundWorker([holding, PeriodicTask("failing", fail, every=0.0)])
    for _ in range(3):
        worker.round()
        for scheduled in worker._scheduled:
            scheduled.due_at = 0.0
    assert calls == ["holding", "failing"] * 3


def test_a_round_in_which_nothing_has_changed_is_one_statement():
    tasks = [PeriodicTask(name, lambda: Project.objects.filter(name="x").exists(), every=0.0) for name in ("a", "b")]
    worker = BackgroundWorker(tasks)
    worker.round()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        worker.round()
    assert len(queries) <= 1, queries.captured_queries
