"""The background worker goes round: fairly, through faults, until it is told to end."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
from django.db import OperationalError

from annotate.core import background_worker
from annotate.core.background_worker import BackgroundWorker
from annotate.core.periodic_tasks import PERIODIC_TASKS, PeriodicTask

pytestmark = pytest.mark.django_db


def work(worker: BackgroundWorker, seconds: float) -> None:
    timer = threading.Timer(seconds, worker.end)
    timer.start()
    worker.work()
    timer.cancel()


def test_a_periodic_task_with_much_to_do_lets_the_others_have_their_turn():
    turns: list[str] = []
    busy = PeriodicTask("busy", lambda: len(turns) < 10 and not turns.append("busy"))
    other = PeriodicTask("other", lambda: bool(turns.append("other")), every=0.0)
    worker = BackgroundWorker([busy, other])
    for _ in range(4):
        worker.round()
    assert turns == ["busy", "other"] * 4


def test_a_periodic_task_rests_until_it_is_due():
    calls: list[float] = []
    work(BackgroundWorker([PeriodicTask("rare", lambda: bool(calls.append(time.monotonic())), every=0.2)]), 0.5)
    assert len(calls) >= 2
    assert all(later - earlier > 0.15 for earlier, later in itertools.pairwise(calls))


def test_a_fault_is_logged_and_stops_neither_the_periodic_task_nor_the_others(monkeypatch, caplog):
    monkeypatch.setattr(background_worker, "SHORTEST_PAUSE", 0.02)
    monkeypatch.setattr(background_worker.connection, "close", lambda: None)
    calls: list[str] = []

    def failing() -> bool:
        calls.append("failing")
        raise RuntimeError("a fault")

    work(
        BackgroundWorker(
            [PeriodicTask("failing", failing), PeriodicTask("good", lambda: bool(calls.append("good")), every=0.05)]
        ),
        0.6,
    )
    assert 2 <= calls.count("failing") <= 8 and calls.count("good") >= 5  # its pauses grow
    assert "failing failed" in caplog.text and "a fault" in caplog.text


def test_the_database_away_is_waited_for(monkeypatch, caplog):
    monkeypatch.setattr(background_worker, "SHORTEST_PAUSE", 0.02)
    monkeypatch.setattr(background_worker.connection, "close", lambda: None)
    answers = [OperationalError("gone"), OperationalError("gone"), None]
    done: list[bool] = []

    def chore() -> bool:
        if answers and (error := answers.pop(0)):
            raise error
        return bool(done.append(True))

    work(BackgroundWorker([PeriodicTask("chore", chore)]), 0.4)
    assert done and "the database is away" in caplog.text


def test_what_is_held_is_given_back_at_the_end():
    given: list[bool] = []
    work(BackgroundWorker([PeriodicTask("holding", lambda: False, end=lambda: given.append(True))]), 0.05)
    assert given == [True]


def test_once_ends_when_nothing_is_left():
    left = [1, 2, 3]
    BackgroundWorker([PeriodicTask("some", lambda: bool(left.pop()) and bool(left))]).work(once=True)
    assert not left


def test_the_periodic_tasks_of_this_app_are_there_and_quiet_when_nothing_is_to_be_done():
    assert {"imports", "deliveries", "sweep"} <= set(PERIODIC_TASKS)
    assert not any(PERIODIC_TASKS[name].do() for name in ("imports", "deliveries", "sweep"))
