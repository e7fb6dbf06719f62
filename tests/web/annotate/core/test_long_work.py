"""Long work beside the background worker's other tasks: its progress, and the database's errors that do not pass."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models import QuerySet
from django.utils import timezone

from annotate.core.db import long_work
from annotate.core.db.long_work import Hold, LongWorker, Lost
from annotate.models import DatasetFreeze, Project, Prompt
from tests.support.factories import make_prompt


@pytest.fixture
def order(project: Project) -> DatasetFreeze:
    return DatasetFreeze.objects.create(project=project, name="large", kind="prompts", side="train", judge="person")


def waiting() -> QuerySet[DatasetFreeze]:
    return DatasetFreeze.objects.filter(state="queued")


def failed(hold: Hold[DatasetFreeze], error: Exception) -> None:
    if not hold.held.update(state="failed", problem=str(error)):
        raise Lost


@pytest.mark.django_db(transaction=True)
def test_progress_said_within_a_query_is_written_though_others_commit(
    order: DatasetFreeze, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_work, "SAID_EVERY", 0.0)
    for _ in range(10):
        make_prompt(project)
    is_reading, has_changed, took = threading.Event(), threading.Event(), []

    def work(hold: Hold[DatasetFreeze]) -> None:
        for n, _ in enumerate(Prompt.objects.order_by("pk").iterator(chunk_size=2)):
            if n == 1:
                is_reading.set()
                assert has_changed.wait(10)
                began = time.monotonic()
                hold("reading", 0.3)
                took.append(time.monotonic() - began)
                time.sleep(0.2)
        hold.held.update(state="done")

    worker = LongWorker(waiting, work, failed)
    assert worker.do() and is_reading.wait(10)
    Project.objects.update(daily_goal=7)
    has_changed.set()
    stages, until = set(), time.monotonic() + 10
    while waiting().exists() and time.monotonic() < until:
        worker.do()
        stages.add(DatasetFreeze.objects.values_list("stage", "share").get())
    worker.end()
    order.refresh_from_db()
    assert order.state == "done" and order.problem == "" and ("reading", 0.3) in stages
    assert took[0] < 1, "it waited for a lock that its own query kept from it"


@pytest.mark.django_db(transaction=True)
def test_work_that_was_taken_away_ends_though_it_says_nothing_new(order: DatasetFreeze) -> None:
    has_ended = threading.Event()

    def work(hold: Hold[DatasetFreeze]) -> None:
        try:
            while True:
                hold("reading", 0.1)
                time.sleep(0.01)
        except Lost:
            has_ended.set()
            raise

    worker = LongWorker(waiting, work, failed)
    assert worker.do()
    DatasetFreeze.objects.update(state="cancelled", finished_at=timezone.now())
    until = time.monotonic() + 10
    while not has_ended.is_set() and time.monotonic() < until:
        worker.do()
    worker.end()
    assert has_ended.is_set() and DatasetFreeze.objects.get().state == "cancelled"


@pytest.mark.parametrize(("text", "state"), [("too many SQL variables", "failed"), ("database is locked", "queued")])
def test_an_error_of_the_database_that_would_only_come_again_fails(order: DatasetFreeze, text: str, state: str) -> None:
    def work(hold: Hold[DatasetFreeze]) -> Any:
        raise OperationalError(text)

    worker = LongWorker(waiting, work, failed)
    if state == "failed":
        assert worker.do_now()
    else:
        with pytest.raises(OperationalError):
            worker.do_now()
    order.refresh_from_db()
    assert (order.state, order.problem) == (state, text if state == "failed" else "")


def test_who_has_lost_the_row_meanwhile_does_not_fail_it(order: DatasetFreeze) -> None:
    def work(hold: Hold[DatasetFreeze]) -> Any:
        DatasetFreeze.objects.update(state="cancelled")
        raise ArithmeticError

    assert LongWorker(waiting, work, failed).do_now()
    order.refresh_from_db()
    assert order.state == "cancelled"
