"""Leases go by the database's clock, end a recipe in time without asking anybody, and leave every project its turn."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings as shipped
from django.db import DatabaseError, InterfaceError, InternalError, OperationalError
from django.utils import timezone

from annotate.core.db.connections import database_now
from config import runner
from tests.support.factories import make_project, make_user
from tests.support.processes import until
from tests.support.training.runs import make_run
from training.models import Attempt, Run
from training.runs.launchers import local
from training.runs.queue import preparation, supervision
from training.runs.queue.worker_database import bound_statements
from training.runs.worker import Supervised, Worker

pytestmark = pytest.mark.django_db


def claim(worker: str = "one") -> Attempt | None:
    return supervision.claim(worker=worker, launcher="test")


def claimed() -> Attempt:
    attempt = claim()
    assert attempt is not None
    return attempt


@pytest.fixture(params=[-1, 1])
def wrong_clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's clock is an hour behind the database's, or ahead of it."""
    right = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: right() + timedelta(hours=request.param))


def test_the_databases_clock_is_read_to_the_millisecond() -> None:
    assert abs((database_now() - timezone.now()).total_seconds()) < 5
    assert database_now().tzinfo is not None


def test_a_lease_is_given_and_runs_out_by_the_databases_clock(wrong_clock: None) -> None:
    run = make_run()
    attempt = claimed()
    assert attempt.lease_expires_at > database_now()
    supervision.release_lost(is_gone=lambda _: False)
    run.refresh_from_db()
    assert run.state == "running", "taken away by the wrong clock"
    assert supervision.renew(attempt)
    attempt.refresh_from_db()
    left = (attempt.lease_expires_at - database_now()).total_seconds()
    assert shipped.RUN_LEASE_SECONDS - 5 < left <= shipped.RUN_LEASE_SECONDS
    Attempt.objects.update(lease_expires_at=database_now() - timedelta(seconds=1))
    supervision.release_lost(is_gone=lambda _: False)
    run.refresh_from_db()
    assert run.state == "queued", "kept beyond its lease by the wrong clock"


def test_one_projects_five_hundred_runs_do_not_starve_another() -> None:
    busy, quiet = make_project(), make_project()
    by = make_user(busy, role="researcher")
    Run.objects.bulk_create(
        Run(kind="fake", name=f"sweep {n}", project=busy, created_by=by, state="queued") for n in range(500)
    )
    late = [make_run(project=quiet) for _ in range(2)]
    order = [claimed().run for _ in range(4)]
    assert [run.project for run in order] == [busy, quiet, busy, quiet]
    assert [run for run in order if run.project == quiet] == late


def test_whoever_waited_longest_comes_first_when_nothing_is_under_way() -> None:
    first, second = make_project(), make_project()
    for _ in range(2):
        make_run(project=first)
    make_run(project=second)
    done = claimed()
    Attempt.objects.filter(pk=done.pk).update(state="succeeded")
    Run.objects.filter(pk=done.run_id).update(state="succeeded")
    assert (done.run.project, claimed().run.project) == (first, second)


class Stopped:
    """A launcher that notes what it was asked to stop."""

    def __init__(self) -> None:
        self.stops: list[tuple[str, float | None]] = []

    def stop(self, handle: str, grace_seconds: float | None = None) -> None:
        time.sleep(0.3)
        self.stops.append((handle, grace_seconds))


def supervising(*handles: str) -> tuple[Worker, Stopped]:
    worker, launcher = Worker(name="test"), Stopped()
    worker.launcher = launcher  # type: ignore[assignment]
    for handle in handles:
        attempt: Any = SimpleNamespace(pk=1, lease="", run_id=1, __str__=lambda _: "attempt")
        worker.supervised.append(Supervised(attempt, attempt, handle=handle))
    return worker, launcher


def test_a_recipe_whose_lease_was_not_renewed_is_ended_without_asking_the_database(
    settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.RUN_LEASE_SECONDS = 2.0
    monkeypatch.setattr("training.runs.worker.connection", SimpleNamespace(vendor="postgresql"))  # and nothing to ask
    worker, launcher = supervising("host:1:2")
    thread = threading.Thread(target=worker._watch_leases, daemon=True)
    thread.start()
    time.sleep(0.8)
    assert not launcher.stops, "ended too soon"
    until(lambda: bool(launcher.stops), 30)
    worker.end()
    thread.join(5)
    [(handle, grace)] = launcher.stops
    assert handle == "host:1:2" and grace is not None and grace < 0.6 and worker.supervised[0].is_lost


def test_recipes_whose_leases_run_out_together_are_ended_together(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.RUN_LEASE_SECONDS = 2.0
    monkeypatch.setattr("training.runs.worker.connection", SimpleNamespace(vendor="postgresql"))
    worker, launcher = supervising(*(f"host:{n}:0" for n in range(4)))
    together = threading.Barrier(4, timeout=10)  # one after the other, the first would wait for the rest in vain

    def stop(handle: str, grace_seconds: float | None = None) -> None:
        together.wait()
        launcher.stops.append((handle, grace_seconds))

    launcher.stop = stop  # type: ignore[method-assign]
    threading.Thread(target=worker._watch_leases, daemon=True).start()
    until(lambda: len(launcher.stops) == 4, 30)
    worker.end()


def test_a_recipe_that_began_when_its_lease_was_lost_already_is_ended(
    settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker was laying the directory; then it hangs in a question to the database, and cannot end it."""
    settings.RUN_LEASE_SECONDS = 0.5
    monkeypatch.setattr("training.runs.worker.connection", SimpleNamespace(vendor="postgresql"))
    worker, launcher = supervising("")
    threading.Thread(target=worker._watch_leases, daemon=True).start()
    until(lambda: worker.supervised[0].is_lost, 30)
    worker.supervised[0].handle = "host:1:2"
    until(lambda: bool(launcher.stops), 30)
    worker.end()


def test_nothing_is_launched_on_a_lease_that_ran_out_while_its_directory_was_laid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_run()
    attempt = claimed()
    worker = Worker(name="test")
    one = Supervised(attempt, attempt.run)
    worker.supervised.append(one)
    lay = preparation.prepare

    def long(run: Run) -> Any:
        one.is_lost = True  # the watchdog
        return lay(run)

    submitted: list[Any] = []
    monkeypatch.setattr(preparation, "prepare", long)
    monkeypatch.setattr(local, "submit", lambda *told: submitted.append(told) or "host:1:2")
    worker._follow_safely(one)
    assert not submitted and not worker.supervised


def test_a_worker_renews_its_own_expired_lease_instead_of_losing_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its machine slept: nobody has taken the run, and ending it would cost the way since its checkpoint."""
    run = make_run()
    attempt = claimed()
    Attempt.objects.filter(pk=attempt.pk).update(lease_expires_at=database_now() - timedelta(seconds=60))
    worker = Worker(name="test")
    worker.supervised.append(Supervised(attempt, attempt.run, handle="host:1:2"))
    monkeypatch.setattr(worker, "_follow_safely", lambda one: None)
    monkeypatch.setattr("training.runs.worker.close_broken_connection", lambda: None)
    worker._tick()
    run.refresh_from_db()
    assert run.state == "running" and run.attempts.get().state == "running" and supervision.renew(attempt)


@pytest.mark.parametrize("error", [OperationalError, InterfaceError, InternalError])
def test_no_error_of_a_database_that_is_away_ends_a_run_or_its_worker(monkeypatch: pytest.MonkeyPatch, error) -> None:
    run = make_run()
    attempt = claimed()
    worker, _ = supervising()
    one = Supervised(attempt, attempt.run, handle="host:1:2")
    worker.supervised.append(one)

    def fails(*_: Any) -> None:
        raise error("cannot execute UPDATE in a read-only transaction")

    monkeypatch.setattr(supervision, "holding", fails)
    worker._follow_safely(one)
    run.refresh_from_db()
    assert run.state == "running" and worker.supervised == [one]


@pytest.mark.parametrize("error", [OperationalError, InterfaceError, InternalError, DatabaseError])
def test_no_error_of_the_database_ends_the_renewing_of_leases(settings, monkeypatch: pytest.MonkeyPatch, error) -> None:
    """After a failover Postgres refuses to write for a while, as an internal error: each later run would be ended."""
    settings.RUN_LEASE_SECONDS = 0.2
    asked: list[Any] = []

    def renew(attempt: Any) -> bool:
        asked.append(attempt)
        if len(asked) == 1:
            raise error("cannot execute UPDATE in a read-only transaction")
        return True

    monkeypatch.setattr(supervision, "renew", renew)
    monkeypatch.setattr("training.runs.worker.close_old_connections", lambda: None)
    monkeypatch.setattr("training.runs.worker.connections", SimpleNamespace(close_all=lambda: None))
    worker, _ = supervising("host:1:2")
    thread = threading.Thread(target=worker._keep_leases, daemon=True)
    thread.start()
    until(lambda: len(asked) > 1, 30)
    worker.end()
    thread.join(5)
    assert not worker.supervised[0].is_lost


def test_shutting_down_gives_all_recipes_their_grace_at_the_same_time() -> None:
    worker, launcher = supervising(*(f"host:{n}:0" for n in range(5)))
    given_back: list[str] = []
    worker._give_back = lambda one: given_back.append(one.handle)  # type: ignore[method-assign]
    began = time.monotonic()
    worker._end_all()
    assert time.monotonic() - began < 1.0, "one after the other"
    assert sorted(given_back) == sorted(handle for handle, _ in launcher.stops) and len(given_back) == 5


def test_the_runner_waits_for_longer_than_the_grace_of_recipes() -> None:
    assert runner.END_PATIENCE > local.GRACE_SECONDS + 5


def test_no_statement_of_a_worker_on_postgres_lasts_longer_than_a_third_of_a_lease(settings) -> None:
    settings.RUN_LEASE_SECONDS, said = 30.0, []
    cursor = SimpleNamespace(execute=said.append)
    for vendor in ("sqlite", "postgresql"):
        bound_statements(SimpleNamespace(vendor=vendor, cursor=lambda: nullcontext(cursor)))
    # Milliseconds. Beside statements, what stays open between two of them: its locks would hold others up.
    assert said == ["SET statement_timeout = 10000; SET idle_in_transaction_session_timeout = 10000"]


def test_postgres_is_given_up_well_within_a_lease() -> None:
    from config.settings import postgres_options

    options = postgres_options({})
    probes = options["keepalives_idle"] + options["keepalives_interval"] * options["keepalives_count"]
    for seconds in (options["connect_timeout"], options["tcp_user_timeout"] / 1000, probes):
        assert 0 < seconds < shipped.RUN_LEASE_SECONDS / 2
