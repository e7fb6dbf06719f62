"""What a program sends again after a lost answer is done once, and answered as the first time."""

from __future__ import annotations

import pytest

from annotate.labelling import assignment_lifecycle
from annotate.models import Assignment, AuditEntry, Comparison, Flag, GoldItem, Project
from tests.support.api_client import Program, answer_of, program, sent_twice
from tests.support.factories import make_assignment, make_comparison, make_pair, make_project, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    return make_project()


def task_of(annotator: Program, project: Project) -> Assignment:
    return make_assignment(annotator.user, *make_pair(project))


def test_a_skip(project: Project) -> None:
    annotator = program(project)
    task = task_of(annotator, project)
    sent_twice(lambda key: annotator.post(f"assignments/{task.pk}/skip/", {"reason": "unclear"}, key=key))
    task.refresh_from_db()
    assert task.state == "skipped"


def test_a_skip_that_was_undone_since_is_not_done_again(project: Project) -> None:
    annotator = program(project)
    task = task_of(annotator, project)
    address, body = f"assignments/{task.pk}/skip/", {"reason": "unclear"}
    assert annotator.post(address, body, key="once").status_code == 200
    assert annotator.delete(f"assignments/{task.pk}/submit/").status_code == 200
    assert annotator.post(address, body, key="once").status_code == 200
    assert Assignment.objects.get(pk=task.pk).state == "open"


def test_an_undo(project: Project) -> None:
    annotator = program(project)
    task = task_of(annotator, project)
    assert annotator.post(f"assignments/{task.pk}/submit/", {"winner": "tie"}).status_code == 201
    assert sent_twice(lambda key: annotator.delete(f"assignments/{task.pk}/submit/", key=key)).json()["state"] == "open"
    assert Comparison.objects.get().status == "withdrawn"


def test_a_flag_and_that_it_is_taken_back(project: Project) -> None:
    annotator = program(project)
    task = task_of(annotator, project)
    address = f"assignments/{task.pk}/flag/"
    sent_twice(lambda key: annotator.post(address, {"reason": "Off topic"}, key=key))
    sent_twice(lambda key: annotator.delete(address, key=f"{key} back"))
    assert annotator.post(address, {"reason": "Off topic"}, key="once").status_code == 201
    assert Flag.objects.get().status == "withdrawn"


def test_a_task_taken_up_again(project: Project) -> None:
    annotator = program(project)
    task = task_of(annotator, project)
    project.assignments.update(state="expired")
    address = f"assignments/{task.pk}/again/"
    first = annotator.post(address, key="once")
    assignment_lifecycle.skip(assignment=Assignment.objects.get(pk=task.pk), by=annotator.user, reason="unclear")
    again = annotator.post(address, key="once")
    assert (again.status_code, answer_of(again)) == (first.status_code, answer_of(first)) and first.status_code == 200


def test_an_annotation_sent_back(project: Project) -> None:
    annotator, reviewer = program(project), program(project, role="reviewer")
    task = task_of(annotator, project)
    assert annotator.post(f"assignments/{task.pk}/submit/", {"winner": "tie"}).status_code == 201
    sent_twice(lambda key: reviewer.post(f"assignments/{task.pk}/send-back/", {"comment": "Look again."}, key=key))
    assert AuditEntry.objects.filter(action="judgement.sent back").count() == 1


def test_a_decision_about_a_prompt(project: Project) -> None:
    reviewer, prompt = program(project, role="reviewer"), make_pair(project)[0].prompt
    address = f"projects/{project.slug}/complaints/{prompt.pk}/"
    sent_twice(lambda key: reviewer.post(address, {"decision": "out", "reason": "broken"}, key=key))
    assert AuditEntry.objects.filter(action="prompt.out").count() == 1


def test_a_pause_and_its_end(project: Project) -> None:
    manager, person = program(project, role="manager"), make_user(project)
    for paused in (True, False):
        body = {"username": person.username, "paused": paused, "note": "by lot"}
        sent_twice(
            lambda key, body=body: manager.post(f"projects/{project.slug}/pauses/", body, key=f"{key} {body}"[:90])
        )
    assert project.memberships.get(user=person).paused_at is None


def test_a_gold_item(project: Project) -> None:
    manager, (a, b) = program(project, role="manager"), make_pair(project)
    body = {"completions": [a.pk, b.pk], "expected": {"winner": ["model_a"]}}
    sent_twice(lambda key: manager.post(f"projects/{project.slug}/gold/", body, key=key))
    assert GoldItem.objects.count() == 1


def test_the_status_of_an_annotation(project: Project) -> None:
    manager, row = program(project, role="manager"), make_comparison(*make_pair(project))
    body = {"status": "excluded", "reason": "by lot"}
    sent_twice(lambda key: manager.post(f"comparisons/{row.pk}/status/", body, key=key))
    row.refresh_from_db()
    assert row.status == "excluded"
