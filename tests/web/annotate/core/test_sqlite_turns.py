"""Writers of one process take turns: each gets the lock in the order in which it asked."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, ProgrammingError, connection, connections, transaction
from django.test import Client

from annotate.core.db.connections import writer, written_by
from annotate.core.db.sqlite import base
from annotate.core.db.sqlite.base import Line
from annotate.models import Project
from tests.support.factories import make_project

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


@pytest.fixture
def watched(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Log slow writes, as the shipped settings do."""
    connection.ensure_connection()
    monkeypatch.setattr(connections["default"], "_slow_write_seconds", 0.1)


def _watched_connection(self: base.DatabaseWrapper, conn_params: dict[str, Any]) -> Any:
    self._slow_write_seconds = 0.1
    conn_params.pop("slow_write_seconds", None)
    return super(base.DatabaseWrapper, self).get_new_connection(conn_params)


def held(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "assay.holds"]


@pytest.mark.parametrize(("given", "seconds"), [({}, 0.1), ({"ASSAY_SLOW_WRITE_MS": "250"}, 0.25)])
def test_the_log_begins_at_a_hundred_milliseconds(tmp_path: Path, given: dict[str, str], seconds: float) -> None:
    script = "from config import settings; print(settings.DATABASES['default']['OPTIONS']['slow_write_seconds'])"
    environment = {"ASSAY_DATA": str(tmp_path), "PATH": os.environ["PATH"], **given}
    root = Path(__file__).resolve().parents[4]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, env=environment, capture_output=True, text=True)
    assert float(done.stdout) == seconds, done.stderr


@sqlite_only
@pytest.mark.django_db(transaction=True)
def test_who_holds_the_write_lock_for_long_is_named(watched: None, caplog: pytest.LogCaptureFixture) -> None:
    with written_by("POST /projects/tea/settings/"), transaction.atomic():
        time.sleep(0.12)
    [told] = held(caplog)
    assert told.startswith("POST /projects/tea/settings/ held the write lock for 1")
    assert "tests/web/annotate/core/test_sqlite_turns.py" in told and "test_who_holds" in told


@sqlite_only
@pytest.mark.django_db(transaction=True)
def test_a_short_write_and_the_wait_for_its_turn_are_not_named(
    watched: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base.DatabaseWrapper, "get_new_connection", _watched_connection)

    def write() -> None:
        with transaction.atomic():
            make_project()

    with written_by("the long one"), transaction.atomic():
        thread = threading.Thread(target=in_threads, args=(1, write))
        thread.start()
        time.sleep(0.15)
    thread.join(5)
    assert len(told := held(caplog)) == 1 and "the long one" in told[0]


@sqlite_only
@pytest.mark.django_db(transaction=True)
def test_a_request_is_named_by_its_address(client: Client) -> None:
    seen: list[str] = []
    with connection.execute_wrapper(lambda execute, *args: (seen.append(writer()), execute(*args))[1]):
        client.get("/")
    assert seen and set(seen) == {"GET /"}


@sqlite_only
@pytest.mark.django_db(transaction=True)
def test_a_statement_outside_a_transaction_stands_in_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite would have it sleep and look again, and whoever writes one transaction after the other keep it out."""
    project, stands = make_project(), threading.Event()
    entered: list[str] = []
    enter = base._line.enter

    def noted(seconds: float) -> bool:
        entered.append(threading.current_thread().name)
        stands.set()
        return enter(seconds)

    def change() -> None:
        Project.objects.filter(pk=project.pk).update(daily_goal=7)

    with transaction.atomic():
        make_project()
        monkeypatch.setattr(base._line, "enter", noted)
        thread = threading.Thread(target=in_threads, args=(1, change))
        thread.start()
        assert stands.wait(5), "it did not stand in the line"
    thread.join(5)
    project.refresh_from_db()
    assert project.daily_goal == 7 and len(entered) == 1
    with transaction.atomic():
        make_project()  # its turn has ended


@sqlite_only
@pytest.mark.django_db(transaction=True)
def test_the_log_is_copied_into_the_database_between_two_turns() -> None:
    seen: list[tuple[str, bool]] = []
    connection.ensure_connection()
    raw = connection.connection
    raw.set_trace_callback(lambda sql: seen.append((sql, base._line._is_taken)))
    try:
        for _ in range(base.CHECKPOINT_EVERY):
            with transaction.atomic():
                Project.objects.update(daily_goal=1)
    finally:
        raw.set_trace_callback(None)
    assert [taken for sql, taken in seen if "wal_checkpoint" in sql] == [False]


class FullDisk:
    """A connection that cannot copy the log into the database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *parameters: Any) -> Any:
        if "wal_checkpoint" in sql:
            raise sqlite3.OperationalError("database or disk is full")
        return self._connection.execute(sql, *parameters)


@sqlite_only
@pytest.mark.django_db(transaction=True)
def test_what_is_committed_is_told_so_where_the_log_cannot_be_copied(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    connection.ensure_connection()
    monkeypatch.setattr(connections["default"], "connection", FullDisk(connection.connection))
    told = []
    for n in range(base.CHECKPOINT_EVERY):
        with transaction.atomic():
            Project.objects.update(daily_goal=n)
            transaction.on_commit(lambda n=n: told.append(n))
    assert told == list(range(base.CHECKPOINT_EVERY)) and "disk is full" in caplog.text
