"""What Prometheus is told of the queue is what is in it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from annotate.core.gauges.heartbeats import Heartbeat
from annotate.core.metrics.readings import read_all
from annotate.models import ProcessHeartbeat
from tests.support.training.runs import make_run, register_fake
from training.models import Attempt, Run
from training.runs.queue import drains, queue_readings

pytestmark = pytest.mark.django_db


def told() -> dict[str, dict]:
    return {reading.name: dict(reading.values) for reading in queue_readings.queue_readings()}


@pytest.fixture(autouse=True)
def kinds() -> None:
    register_fake()


def test_depth_and_age_are_those_of_queued_runs_by_kind(project):
    assert told()["assay_queue_runs"][("fake",)] == 0 == told()["assay_queue_oldest_seconds"][("fake",)]
    old, _ = make_run(project), make_run(project)
    Run.objects.filter(pk=old.pk).update(queued_at=timezone.now() - timedelta(hours=2))
    unknown = make_run(project)
    Run.objects.filter(pk=unknown.pk).update(kind="of a plugin that is gone")
    readings = told()
    assert readings["assay_queue_runs"][("fake",)] == 2 and readings["assay_queue_runs"][("other",)] == 1
    assert 7200 <= readings["assay_queue_oldest_seconds"][("fake",)] < 7300
    assert readings["assay_runs"] == {(s,): 3 * (s == "queued") for s in Run.State.values}


def test_failures_are_counted_by_codes_and_nothing_else_becomes_a_label(project, monkeypatch):
    monkeypatch.setattr(queue_readings, "MOST_REASONS", 2)
    for code in ("disk_full", "disk_full", "lost", "lost", "crashed", "What Ada wrote"):
        Run.objects.filter(pk=make_run(project).pk).update(state="failed", reason_code=code)
    assert told()["assay_runs_failed"] == {("disk_full",): 2, ("lost",): 2, ("other",): 2}


def test_a_worker_that_is_drained_takes_no_runs():
    for name in ("gpu@node-1:2:3:4", "gpu@node-2:2:3:4"):
        Heartbeat(name, ProcessHeartbeat.Kind.WORKER).beat()
    drains.drain("node-2")
    assert told()["assay_workers"] == {("alive",): 1, ("draining",): 1}


def test_all_readings_take_few_queries(project, django_assert_max_num_queries):
    make_run(project)
    with django_assert_max_num_queries(12):
        names = [reading.name for reading in read_all()]
    assert len(names) == len(set(names))


def test_a_run_that_fails_whenever_it_is_resumed_counts_each_time(project):
    run = make_run(project)
    for number in (1, 2, 3):
        Attempt.objects.create(
            run=run, number=number, lease_expires_at=timezone.now(), worker="w", launcher="local", state="failed"
        )
    Run.objects.filter(pk=run.pk).update(state="failed", reason_code="disk_full")
    assert told()["assay_runs_failed"] == {("disk_full",): 3}
