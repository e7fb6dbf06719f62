"""Judging through the API: what a task shows, and each way of sending it wrongly, with the database as before."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from rest_framework import serializers

from annotate.core.api import token_authentication
from annotate.labelling.assignment_serializers import AssignmentOut
from annotate.models import Assignment, Comparison, Demonstration, Rating
from tests.support.api_client import errors, program
from tests.support.factories import (
    make_assignment,
    make_comparison,
    make_completion,
    make_pair,
    make_project,
    make_prompt,
    make_rank_assignment,
    make_user,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def annotator(project):
    return program(project)


def stored() -> tuple[int, ...]:
    tables = (Rating, Comparison, Demonstration)
    return (*(t.objects.count() for t in tables), Assignment.objects.filter(state="open").count())


def to_compare(project, annotator) -> Assignment:
    return make_assignment(annotator.user, *make_pair(project))


def to_rate(project, annotator) -> Assignment:
    return make_assignment(annotator.user, make_completion(make_prompt(project)))


@pytest.mark.parametrize("sender", ["nobody", "somebody else", "its annotator"])
def test_the_task_is_looked_up_with_the_token_of_its_annotator_alone(project, annotator, monkeypatch, sender):
    task, ask, looked_up = to_compare(project, annotator), token_authentication.ask, []
    monkeypatch.setattr(token_authentication, "ask", lambda *asked: looked_up.append(ask(*asked)) or looked_up[-1])
    by = {"nobody": annotator, "somebody else": program(project), "its annotator": annotator}[sender]
    if sender == "nobody":
        by.http.credentials(HTTP_AUTHORIZATION=f"Token {'0' * 40}")
    status = {"nobody": 401, "somebody else": 403, "its annotator": 201}[sender]
    assert by.post(f"assignments/{task.pk}/submit/", {"winner": "tie"}).status_code == status
    [[_, tasks]] = looked_up
    assert [row.pk for row in tasks] == ([task.pk] if status == 201 else [])


def test_the_next_task_shows_texts_and_names_no_model(project, annotator):
    a, b = make_pair(project)
    project.asks_ratings = False
    project.save()
    response = annotator.post(f"projects/{project.slug}/assignments/", {"kind": "compare"})
    assert response.status_code == 200
    task = response.json()
    assert set(task) == {
        *("id", "project", "kind", "state", "prompt", "completions", "scales", "sent_back_comment", "expires_at")
    }
    assert task["kind"] == "compare" and task["prompt"]["messages"] == a.prompt.messages
    assert {c["text"] for c in task["completions"]} == {a.text, b.text}
    assert all(set(c) == {"id", "text", "cut"} for c in task["completions"])
    for model in (a.model, b.model):
        assert model.name not in response.content.decode()


def test_without_anything_to_judge_the_answer_is_204(project, annotator):
    assert annotator.post(f"projects/{project.slug}/assignments/").status_code == 204


def test_a_comparison_is_stored_and_receipted(project, annotator):
    task = to_compare(project, annotator)
    Assignment.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    response = annotator.post(f"assignments/{task.pk}/submit/", {"winner": "tie", "seconds": 4.5})
    assert response.status_code == 201
    row = Comparison.objects.get()
    assert response.json() == {
        "kind": "comparison",
        "id": row.pk,
        "assignment": task.pk,
        "status": "counted",
        "status_reason": "",
        "counted": True,
    }
    assert (row.winner, row.author, row.seconds) == ("tie", annotator.user, 4.5)


def test_a_rating_and_a_demonstration_are_stored_together(project, annotator):
    task = to_rate(project, annotator)
    body = {"stars": 2, "thumbs": False, "text": "A better answer.", "edited_from": task.completion_a_id}
    assert annotator.post(f"assignments/{task.pk}/submit/", body).status_code == 201
    assert Rating.objects.get().stars == 2
    assert Demonstration.objects.get().edited_from_id == task.completion_a_id


@pytest.mark.parametrize(
    ("body", "field", "remedy"),
    [
        ({"winner": "model_c"}, "winner", "both_bad"),
        ({"winner": None}, "winner", "skip"),
        ({}, "winner", "skip"),
        ({"winner": "tie", "strength": 2}, "strength", "win"),
        ({"winner": "model_a", "strength": 9}, "strength", "3"),
        ({"winner": "tie", "stars": 3}, "stars", "winner"),
        ({"winer": "tie"}, "winer", "winner"),
        ({"winner": ["tie"]}, "winner", "string"),
        ({"winner": "tie", "seconds": "long"}, "seconds", "number"),
        ({"winner": "tie", "edited_from": 10**30}, "edited_from", "less"),
    ],
)
def test_a_wrong_comparison_is_refused_by_field(project, annotator, body, field, remedy):
    task = to_compare(project, annotator)
    before = stored()
    told = errors(annotator.post(f"assignments/{task.pk}/submit/", body))
    assert set(told) == {field} and remedy in told[field]
    assert stored() == before


@pytest.mark.parametrize(
    ("body", "status", "field", "remedy"),
    [
        ({"stars": 6}, 400, "stars", "5"),
        ({"stars": 0}, 400, "stars", "1"),
        ({"stars": "many"}, 400, "stars", "integer"),
        ({"thumbs": "sideways"}, 400, "thumbs", "boolean"),
        ({"winner": "tie"}, 400, "winner", "rate"),
        ({"text": ""}, 400, "text", "empty"),
        ({"text": "x" * 1_000_000}, 413, "text", "shorten"),
        ({"text": "a\x00b"}, 400, "text", "ull"),
        ({"stars": 3, "edited_from": 1, "text": "x"}, 400, "edited_from", "part of this task"),
    ],
)
def test_a_wrong_rating_is_refused_by_field(project, annotator, body, status, field, remedy):
    task = make_assignment(annotator.user, make_completion(make_prompt(project), pk=1000))
    before = stored()
    told = errors(annotator.post(f"assignments/{task.pk}/submit/", body), status)
    assert set(told) == {field} and remedy in told[field]
    assert stored() == before


def test_malformed_json_is_refused_in_words(project, annotator):
    task = to_compare(project, annotator)
    before = stored()
    for body in (b'{"winner": "tie"', b"", b"\xff\xfe", b"[" * 100_000, b'{"seconds": NaN}'):
        response = annotator.http.post(
            f"/api/v1/assignments/{task.pk}/submit/", data=body, content_type="application/json"
        )
        told = errors(response)
        assert body == b"" or "valid JSON" in told["body"]
    assert stored() == before


def test_a_body_that_is_no_object_is_refused(project, annotator):
    task = to_compare(project, annotator)
    for body in ([], [{"winner": "tie"}], "tie", 3):
        assert errors(annotator.post(f"assignments/{task.pk}/submit/", body))


def test_a_second_vote_is_refused_and_the_first_stands(project, annotator):
    task = to_compare(project, annotator)
    annotator.post(f"assignments/{task.pk}/submit/", {"winner": "tie"})
    before = stored()
    told = errors(annotator.post(f"assignments/{task.pk}/submit/", {"winner": "model_a"}), 409)
    assert "Undo" in told["assignment"]
    assert stored() == before and Comparison.objects.get().winner == "tie"


def test_the_same_key_gets_the_first_answer_and_stores_once(project, annotator):
    task = to_compare(project, annotator)
    first = annotator.post(f"assignments/{task.pk}/submit/", {"winner": "tie"}, key="k1")
    again = annotator.post(f"assignments/{task.pk}/submit/", {"winner": "tie"}, key="k1")
    assert (again.status_code, again.json()) == (first.status_code, first.json()) == (201, first.json())
    assert Comparison.objects.count() == 1


def test_a_key_used_for_something_else_is_refused(project, annotator):
    task = to_compare(project, annotator)
    annotator.post(f"assignments/{task.pk}/submit/", {"winner": "tie"}, key="k1")
    told = errors(annotator.post(f"assignments/{task.pk}/submit/", {"winner": "model_a"}, key="k1"), 409)
    assert "new one" in told["Idempotency-Key"]


def test_two_people_may_use_the_same_key(project, annotator):
    other = program(project)
    for person in (annotator, other):
        task = to_compare(project, person)
        assert person.post(f"assignments/{task.pk}/submit/", {"winner": "tie"}, key="k1").status_code == 201
    assert Comparison.objects.count() == 2


def test_a_refused_request_does_not_use_its_key_up(project, annotator):
    task = to_compare(project, annotator)
    errors(annotator.post(f"assignments/{task.pk}/submit/", {"winner": "nobody"}, key="k1"))
    assert annotator.post(f"assignments/{task.pk}/submit/", {"winner": "tie"}, key="k1").status_code == 201


def test_a_key_that_is_too_long_is_refused(project, annotator):
    task = to_compare(project, annotator)
    told = errors(annotator.post(f"assignments/{task.pk}/submit/", {"winner": "tie"}, key="k" * 101))
    assert "100" in told["Idempotency-Key"] and not Comparison.objects.exists()


def test_someone_elses_task_is_refused_for_all_that_can_be_done_with_it(project, annotator):
    task = to_compare(project, annotator)
    stranger = program(project)
    before = stored()
    for response in (
        stranger.get(f"assignments/{task.pk}/"),
        stranger.post(f"assignments/{task.pk}/submit/", {"winner": "tie"}),
        stranger.post(f"assignments/{task.pk}/skip/", {"reason": "no"}),
        stranger.post(f"assignments/{task.pk}/again/"),
        stranger.delete(f"assignments/{task.pk}/submit/"),
    ):
        assert "Somebody else" in errors(response, 403)["assignment"]
    assert stored() == before


def test_an_expired_task_is_refused(project, annotator):
    task = to_compare(project, annotator)
    Assignment.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    told = errors(annotator.post(f"assignments/{task.pk}/submit/", {"winner": "tie"}), 410)
    assert "ask for the next one" in told["assignment"] and not Comparison.objects.exists()


def test_undo_withdraws_and_hands_the_task_back(project, annotator):
    task = to_compare(project, annotator)
    annotator.post(f"assignments/{task.pk}/submit/", {"winner": "tie"})
    response = annotator.delete(f"assignments/{task.pk}/submit/")
    assert response.status_code == 200 and response.json()["state"] == "open"
    assert Comparison.objects.get().status == "withdrawn"
    assert annotator.post(f"assignments/{task.pk}/submit/", {"winner": "model_b"}).status_code == 201


def test_a_task_is_skipped_with_a_reason(project, annotator):
    task = to_compare(project, annotator)
    assert "reason" in errors(annotator.post(f"assignments/{task.pk}/skip/", {"reason": ""}))
    assert annotator.post(f"assignments/{task.pk}/skip/", {"reason": "garbled"}).json()["state"] == "skipped"


def test_an_unknown_task_is_404(annotator):
    for pk in ("999999", "abc", str(10**30)):
        assert "assignment" in errors(annotator.post(f"assignments/{pk}/submit/", {"winner": "tie"}), 404)


def test_judging_needs_an_account_and_a_role(project):
    make_pair(project)
    told = errors(program().post(f"projects/{project.slug}/assignments/"), 403)
    assert "annotator" in told["project"]
    from tests.support.api_client import Program

    told = errors(Program().post(f"projects/{project.slug}/assignments/"), 401)
    assert "auth/token/" in told["authorization"]


def test_a_private_project_does_not_exist_for_others():
    project = make_project(is_public=False)
    told = errors(program().post(f"projects/{project.slug}/assignments/"), 404)
    assert "project" in told


def test_annotators_read_their_own_votes_and_reviewers_all(project, annotator):
    mine = make_comparison(*make_pair(project), author=annotator.user)
    other = make_comparison(*make_pair(project))
    assert [row["id"] for row in annotator.get("comparisons/").json()["results"]] == [mine.pk]
    reviewer = program(project, "reviewer")
    assert [row["id"] for row in reviewer.get("comparisons/").json()["results"]] == [mine.pk, other.pk]


def test_annotators_cannot_look_up_the_model_of_a_completion(project, annotator):
    completion = make_completion(make_prompt(project))
    assert annotator.get("completions/").json()["results"] == []
    assert "completion" in errors(annotator.get(f"completions/{completion.pk}/"), 404)
    reviewer = program(project, "reviewer")
    assert reviewer.get(f"completions/{completion.pk}/").json()["model"] == completion.model_id


def test_a_task_looks_as_the_schema_says():
    """It is written out by hand for speed: field by field it is what its declared fields give."""
    project = make_project()
    pair = make_pair(project)
    assignment = make_assignment(make_user(project), *pair, sent_back_comment="Look again.")
    for task in (assignment, make_rank_assignment(make_user(project), *pair, make_completion(pair[0].prompt))):
        out = AssignmentOut(task)
        assert out.data == serializers.Serializer.to_representation(out, task)


@pytest.mark.parametrize("body", [{"winner": "model_a"}, {"winner": "nobody"}, {"winner": "tie", "seconds": "long"}])
def test_a_key_that_was_used_is_refused_for_another_body_whatever_that_says(project, annotator, body):
    task = to_compare(project, annotator)
    address = f"assignments/{task.pk}/submit/"
    assert annotator.post(address, {"winner": "tie"}, key="k").status_code == 201
    assert annotator.post(address, {"winner": "tie"}, key="k").status_code == 201
    assert "Idempotency-Key" in errors(annotator.post(address, body, key="k"), 409)
    assert Comparison.objects.count() == 1


def test_a_person_who_is_signed_in_submits_without_a_token(client, project, annotator):
    task = to_compare(project, annotator)
    client.force_login(annotator.user)
    address = f"/api/v1/assignments/{task.pk}/submit/"
    assert client.post(address, {"winner": "tie"}, "application/json").status_code == 201
    assert Comparison.objects.get().author == annotator.user
