"""What a program sends to a run again after a lost answer is done once, and answered as the first time."""

from __future__ import annotations

import pytest

from annotate.models import AuditEntry
from tests.support.api_client import program, sent_twice
from tests.support.training.runs import make_run
from tests.web.training.runs.test_paused import paused_run

pytestmark = pytest.mark.django_db


def test_a_run_is_cancelled(project) -> None:
    researcher, run = program(project, role="researcher"), make_run(project)
    answer = sent_twice(lambda key: researcher.post(f"runs/{run.pk}/cancel/", key=key))
    assert answer.json()["state"] == "cancelled"
    assert AuditEntry.objects.filter(action="run.cancelled").count() == 1


def test_a_cancel_sent_again_late_does_not_end_a_run_that_was_resumed(project) -> None:
    researcher, run = program(project, role="researcher"), make_run(project)
    for address, key in (("cancel", "once"), ("resume", ""), ("cancel", "once")):
        assert researcher.post(f"runs/{run.pk}/{address}/", key=key).status_code == 200
    run.refresh_from_db()
    assert run.state == "queued"


def test_a_run_is_resumed(project) -> None:
    researcher, run = program(project, role="researcher"), make_run(project, state="failed")
    sent_twice(lambda key: researcher.post(f"runs/{run.pk}/resume/", key=key))
    assert AuditEntry.objects.filter(action="run.resumed").count() == 1


def test_a_paused_run_goes_on_by_one_choice(project) -> None:
    researcher, run = program(project, role="researcher"), paused_run(project)
    sent_twice(lambda key: researcher.post(f"runs/{run.pk}/choose/", {"choice": "on"}, key=key))
    run.refresh_from_db()
    assert run.state == "queued" and len(run.amendments) == 1


def test_a_run_gets_another_priority(project) -> None:
    manager, run = program(project, role="manager"), make_run(project)
    sent_twice(lambda key: manager.post(f"runs/{run.pk}/priority/", {"priority": "high"}, key=key))
    run.refresh_from_db()
    assert run.priority == "high"
