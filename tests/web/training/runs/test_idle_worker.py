"""A worker without work asks one small thing each round, and begins what comes as soon as before."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.support.training.runs import make_run
from training.models import Run
from training.runs import worker as workers
from training.runs.queue import supervision
from training.runs.worker import Worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


@pytest.fixture(autouse=True)
def _runs_folder(settings):
    settings.RUNS_DIR.mkdir(parents=True, exist_ok=True)


def test_a_round_in_which_nothing_has_changed_is_one_statement():
    worker = Worker(name="idle")
    assert worker._tick() and worker._tick()
    with CaptureQueriesContext(connection) as queries:
        assert worker._tick()
    assert len(queries) <= 1, queries.captured_queries


def test_what_is_queued_is_claimed_in_the_next_round(monkeypatch):
    claimed: list[str] = []
    monkeypatch.setattr(workers.supervision, "claim", lambda **words: claimed.append(words["worker"]))
    worker = Worker(name="idle")
    worker._tick()
    worker._tick()
    assert len(claimed) == 1, "nothing has changed"
    make_run()
    worker._tick()
    assert claimed == [worker.identity] * 2


def test_a_worker_that_dies_without_a_word_to_the_database_is_noticed_in_the_next_round(monkeypatch):
    run = make_run()
    supervision.claim(worker="other", launcher="test")
    worker, gone = Worker(name="idle"), []
    monkeypatch.setattr(workers.worker_names, "is_gone", lambda name: name in gone)
    monkeypatch.setattr(workers.supervision, "claim", lambda **_: None)
    worker._tick()
    worker._tick()
    gone.append("other")
    worker._tick()
    run.refresh_from_db()
    assert run.state == Run.State.QUEUED


def test_a_connection_is_kept_from_round_to_round():
    worker = Worker(name="idle")
    worker._tick()
    before = connection.connection
    worker._tick()
    assert connection.connection is before
