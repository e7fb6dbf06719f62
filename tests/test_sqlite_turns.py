"""Writers of one process take turns: each gets the lock in the order in which it asked."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from django.db import OperationalError, ProgrammingError, connection, transaction

from annotate.models import Project
from config.sqlite.base import Line
from tests.factories import make_project

sqlite_only = pytest.mark.skipif("connection.vendor != 'sqlite'")


def test_first_come_first_served() -> None:
    line, served = Line(), []
    assert line.enter(1)

    def stand(number: int) -> None:
        assert line.enter(5)
        served.append(number)
        line.leave()

    threads = [threading.Thread(target=stand, args=(n,)) for n in range(5)]
    for n, thread in enumerate(threads, start=1):
        thread.start()
        while len(line._waiting) < n:
            time.sleep(0.001)
    line.leave()
    for thread in threads:
        thread.join(5)
    assert served == [0, 1, 2, 3, 4]
    assert line.enter(0)


def test_whoever_waits_too_long_leaves_the_line() -> None:
    line = Line()
    assert line.enter(1)
    assert not line.enter(0.01)
    line.leave()
    assert line.enter(0)


def in_threads(count: int, work: Any) -> list[BaseException]:
    problems: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return problems


@pytest.mark.django_db(transaction=True)
def test_no_change_is_lost_among_many_writers() -> None:
    project = make_project(daily_goal=0)

    def count() -> None:
        for _ in range(5):
            with transaction.atomic():
                seen = Project.objects.select_for_update().get(pk=project.pk)
                seen.daily_goal += 1
                seen.save(update_fields=["daily_goal"])

    assert in_threads(8, count) == []
    project.refresh_from_db()
    assert project.daily_goal == 40


@sqlite_only
@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_failed_or_was_cut_off_ends_its_turn() -> None:
    def fail() -> None:
        with pytest.raises(RuntimeError), transaction.atomic():
            make_project()
            raise RuntimeError
        with pytest.raises(ProgrammingError), transaction.atomic():
            connection.close()
            make_project()

    assert in_threads(1, fail) == []
    with transaction.atomic():
        make_project()


@sqlite_only
@pytest.mark.django_db(transaction=True)
def test_a_writer_that_waits_in_vain_is_told_that_the_database_is_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    def write() -> None:
        connection.ensure_connection()
        connection.settings_dict = {**connection.settings_dict, "OPTIONS": {"timeout": 0.05}}
        with pytest.raises(OperationalError, match="locked"), transaction.atomic():
            make_project()

    with transaction.atomic():
        make_project()
        assert in_threads(1, write) == []
    assert in_threads(1, make_project) == []
