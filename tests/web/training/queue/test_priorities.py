"""Which waiting run is next: its priority, the turns of projects, its age; and who may change it."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.models import AuditEntry, Project
from tests.support.api_client import Program
from tests.support.factories import make_project, make_user, sign_in
from tests.support.training.runs import in_a_thread, make_dataset, make_run, make_weights
from training.models import Attempt, Run
from training.runs.ordering.actions import queue_run, resume
from training.runs.ordering.priorities import set_priority
from training.runs.queue import supervision

pytestmark = pytest.mark.django_db


def claim(worker: str = "one") -> Attempt | None:
    return supervision.claim(worker=worker, launcher="test")


def claimed_runs(count: int) -> list[Run]:
    attempts = [claim() for _ in range(count)]
    return [attempt.run for attempt in attempts if attempt is not None]


def has_waited(run: Run, **time: float) -> Run:
    Run.objects.filter(pk=run.pk).update(queued_at=timezone.now() - timedelta(**time))
    return run


def test_the_highest_priority_comes_first_and_of_one_priority_the_oldest(project):
    low, normal, high, second = (make_run(project, priority=p) for p in ("low", "normal", "high", "high"))
    assert claimed_runs(5) == [high, second, normal, low]


def test_of_one_priority_the_project_with_fewest_runs_at_work_is_next():
    busy, quiet = make_project(), make_project()
    first = [make_run(busy) for _ in range(3)]
    late = make_run(quiet)
    assert claimed_runs(4) == [first[0], late, first[1], first[2]]


def test_priority_comes_before_the_turn_of_a_project():
    busy, quiet = make_project(), make_project()
    runs = [make_run(busy, priority="high") for _ in range(2)]
    assert claimed_runs(2) == runs or make_run(quiet) is None
    third, waiting = make_run(busy, priority="high"), make_run(quiet)
    assert claimed_runs(2) == [third, waiting]


@pytest.mark.parametrize(("priority", "hours"), [("normal", 25), ("low", 49)])
def test_no_stream_of_high_priority_starves_a_run(project, settings, priority, hours):
    settings.RUN_AGEING_HOURS = 24
    waiting = make_run(project, priority=priority)
    stream = [make_run(project, priority="high") for _ in range(3)]
    assert claimed_runs(1) == stream[:1], "it has not waited long"
    has_waited(waiting, hours=hours)
    assert claimed_runs(1) == [waiting], "as high by now, and older"


def test_a_low_run_that_waited_once_as_long_counts_as_a_normal_one(project, settings):
    settings.RUN_AGEING_HOURS = 24
    low = has_waited(make_run(project, priority="low"), hours=25)
    normal, high = make_run(project), make_run(project, priority="high")
    assert claimed_runs(3) == [high, low, normal]


def test_a_resumed_run_begins_to_wait_anew(project):
    run = has_waited(make_run(project, state="failed"), days=9)
    assert timezone.now() - resume(run=run, by=run.created_by).queued_at < timedelta(minutes=1)


@pytest.mark.django_db(transaction=True)
def test_racing_workers_claim_each_run_once_and_the_high_ones_first():
    projects = [make_project() for _ in range(3)]
    for n in range(12):
        make_run(projects[n % 3], priority=("low", "high")[n % 2])
    claimed: list[str] = []
    barrier = threading.Barrier(6)

    def work() -> None:
        barrier.wait()
        if attempt := claim(threading.current_thread().name):
            claimed.append(attempt.run.priority)

    threads = [threading.Thread(target=in_a_thread(work)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert claimed == ["high"] * 6
    assert set(Counter(Attempt.objects.values_list("run", flat=True)).values()) == {1}


# Who may change it


def order(project: Project, by, **fields) -> Run:
    return queue_run(
        kind="sample",
        project=project,
        name="answers",
        by=by,
        parent=make_weights(),
        dataset=make_dataset(project),
        **fields,
    )


def test_a_researcher_lowers_a_priority_and_a_manager_raises_it(project, researcher):
    manager = make_user(project, role="manager")
    run = make_run(project)
    assert set_priority(run=run, by=researcher, priority="low").priority == "low"
    for priority in ("normal", "high"):
        with pytest.raises(Refused) as caught:
            set_priority(run=run, by=researcher, priority=priority)
        assert caught.value.status == 403 and f"Only a manager of {project.name}" in caught.value.errors["priority"]
    assert set_priority(run=run, by=manager, priority="high").priority == "high"
    entries = AuditEntry.objects.filter(action="run.priority").order_by("id")
    assert [(entry.actor, entry.changes["priority"]) for entry in entries] == [
        (researcher, ["normal", "low"]),
        (manager, ["low", "high"]),
    ]


def test_an_order_may_be_low_and_only_a_managers_may_be_high(project, researcher):
    assert order(project, researcher, priority="low").priority == "low"
    Run.objects.all().delete()
    with pytest.raises(Refused) as caught:
        order(project, researcher, priority="high")
    assert (caught.value.status, list(caught.value.errors), Run.objects.count()) == (403, ["priority"], 0)
    assert order(project, make_user(project, role="manager"), priority="high").priority == "high"


def test_only_a_waiting_run_has_a_priority(project):
    manager, run = make_user(project, role="manager"), make_run(project, state="running")
    with pytest.raises(Refused) as caught:
        set_priority(run=run, by=manager, priority="high")
    assert (caught.value.status, list(caught.value.errors)) == (409, ["state"])
    with pytest.raises(Refused, match="is not a priority; use one of high, normal, low"):
        set_priority(run=run, by=manager, priority="urgent")


def test_a_program_sets_and_reads_the_priority(project):
    program, run = Program(make_user(project, role="manager")), make_run(project)
    answer = program.post(f"runs/{run.pk}/priority/", {"priority": "high"})
    assert answer.status_code == 200 and answer.json()["priority"] == "high"
    answer = program.post(f"runs/{run.pk}/priority/", {"priority": "urgent"})
    assert answer.status_code == 400 and list(answer.json()["errors"]) == ["priority"]


@pytest.mark.parametrize(
    ("role", "words"), [("researcher", ["Lower to low"]), ("manager", ["Raise to high", "Lower to low"])]
)
def test_the_page_of_a_waiting_run_offers_what_the_reader_may(client, project, role, words):
    sign_in(client, project, role)
    run = make_run(project)
    text = client.get(reverse("run", args=[run.pk])).content.decode()
    assert "Priority: normal ·" in text
    assert [word for word in ("Raise to high", "Lower to low") if word in text] == words
    client.post(reverse("set-run-priority", args=[run.pk]), {"priority": "low"})
    assert "low priority" in client.get(reverse("run", args=[run.pk])).content.decode()
    Run.objects.filter(pk=run.pk).update(state="running")
    assert "Priority:" not in client.get(reverse("run", args=[run.pk])).content.decode()


def test_who_only_reads_a_project_is_offered_nothing_and_refused(client, project):
    sign_in(client, project, "annotator")
    run = make_run(project)
    assert "Priority:" not in client.get(reverse("run", args=[run.pk])).content.decode()
    assert client.post(reverse("set-run-priority", args=[run.pk]), {"priority": "low"}).status_code == 403


def test_the_place_in_the_queue_goes_by_priority(client, project):
    sign_in(client, project, "researcher")
    low, _ = make_run(project, priority="low"), make_run(project)
    assert (
        "Waiting in the queue behind 1 more · low priority"
        in client.get(reverse("run", args=[low.pk])).content.decode()
    )
