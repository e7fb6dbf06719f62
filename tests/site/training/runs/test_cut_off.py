"""A worker that is cut off from Postgres, its sockets open: its recipe ends in time, and another takes over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

from annotate.core.db.connections import database_now
from tests.support.cut_wire import Wire, wire_to
from tests.support.processes import alive, until
from tests.support.training.runs import end_workers, lines_of, make_run, start_worker
from training.models import Attempt, Run

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="nobody is cut off from a file"),
]
LEASE_SECONDS = 6.0
STEPS = 40


@pytest.fixture
def wire(transactional_db: None) -> Iterator[Wire]:
    connection.ensure_connection()
    info = connection.connection.info
    place = f"{info.host}/.s.PGSQL.{info.port}" if info.host.startswith("/") else (info.host, info.port)
    with wire_to(place) as made:
        yield made
        end_workers()


def through(wire: Wire) -> str:
    user, name = connection.connection.info.user, connection.settings_dict["NAME"]
    return f"postgresql://{user}:@127.0.0.1:{wire.port}/{name}"


def cut(wire: Wire, moment: str) -> None:
    if moment == "between two transactions":
        wire.cut()
    else:  # it holds the row of its attempt, and the server goes on holding it
        wire.cut_after(b"FOR UPDATE")
        until(lambda: wire.is_cut, 20, "a transaction that holds the lease")


@pytest.mark.parametrize("moment", ["between two transactions", "inside a transaction"])
def test_a_recipe_whose_worker_is_cut_off_ends_within_its_lease_and_another_goes_on(wire: Wire, moment: str) -> None:
    run = make_run(config={"steps": STEPS, "step_seconds": 0.2})
    start_worker("--name", "first", database=through(wire), lease_seconds=LEASE_SECONDS)
    until(lambda: (run.path / "checkpoints" / "step-000004").exists() and run.metrics.count() > 3, 60)
    [recipe] = (int(pid) for pid in lines_of(run.path / "starts.txt"))
    cut(wire, moment)
    until(lambda: not alive(recipe), LEASE_SECONDS + 1, "the end of the recipe")
    held = run.attempts.get()
    assert held.state == Attempt.State.RUNNING and held.lease_expires_at > database_now(), "ended in time"

    second = start_worker("--name", "second", lease_seconds=LEASE_SECONDS)
    until(lambda: Run.objects.get(pk=run.pk).is_finished, 90, "the end of the run")
    second.terminate()
    assert second.wait(30) == 0
    run.refresh_from_db()
    assert (run.state, run.reason) == (Run.State.SUCCEEDED, "")
    lost, won = run.attempts.all()
    assert (lost.state, won.state) == (Attempt.State.LOST, Attempt.State.SUCCEEDED)
    assert won.resumed_from_step and won.resumed_from_step >= 4
    written = [line.split(":")[0] for line in lines_of(run.path / "steps.txt")]
    assert written == sorted(written), "never both at once"
    assert [metric.step for metric in run.metrics.all()] == list(range(1, STEPS + 1))
    by = [metric.values["attempt"] for metric in run.metrics.all()]
    assert by == sorted(by) and set(by) == {1, 2}

    wire.mend()  # the first one writes nothing of what it kept, and goes on with the next run
    another = make_run(project=run.project, config={"steps": 3})
    until(lambda: Run.objects.get(pk=another.pk).state == Run.State.SUCCEEDED, 30, "the next run")
    assert another.attempts.get().worker.startswith("first")
    run.refresh_from_db()
    assert run.state == Run.State.SUCCEEDED and run.metrics.count() == STEPS
