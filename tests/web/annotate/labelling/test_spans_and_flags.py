"""Spans that judges mark in a text, and flags for the reviewers."""

from __future__ import annotations

import json

import pytest
from django.urls import reverse

from annotate.core.errors import Refused
from annotate.data import frozen_rows
from annotate.data.datasets.actions import freeze
from annotate.data.datasets.frozen_exports import export
from annotate.labelling import actions as feedback
from annotate.labelling import flagging as flags
from annotate.models import Flag, Rating, Span, StatusChange
from tests.support.api_client import errors, program
from tests.support.factories import (
    make_assignment,
    make_completion,
    make_pair,
    make_project,
    make_prompt,
    make_scale,
    make_user,
)

pytestmark = pytest.mark.django_db
TEXT = "Ich mag 🍋 und Züge.\nParis is in Spain."


@pytest.fixture
def project():
    project = make_project()
    make_scale(project, "span", "false-claim")
    return project


@pytest.fixture
def task(project, user):
    return make_assignment(user, make_completion(make_prompt(project), TEXT))


def span(task, **changes):
    return {"completion": task.completion_a_id, "start": 8, "end": 9, "label": "false-claim", **changes}


def test_a_span_is_kept_in_code_points_with_the_text_as_it_stood(task, user):
    start = TEXT.index("Paris")
    row = feedback.submit(
        assignment=task, by=user, stars=2, spans=[span(task), span(task, start=start, end=start + 17)]
    )
    assert isinstance(row, Rating)
    assert [(s.text, s.label, s.completion, s.author) for s in Span.objects.all()] == [
        ("🍋", "false-claim", task.completion_a, user),
        ("Paris is in Spain", "false-claim", task.completion_a, user),
    ]


def test_spans_alone_are_an_annotation(task, user):
    row = feedback.submit(assignment=task, by=user, spans=[span(task)], comment="Here.", idempotency_key="k1")
    assert isinstance(row, Span) and (row.comment, row.idempotency_key) == ("Here.", "k1")
    assert feedback.submit(assignment=task, by=user, spans=[span(task)], idempotency_key="k1") == row


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"start": 9}, "is not within"),
        ({"start": 12, "end": 9}, "is not within"),
        ({"start": -1}, "is not within"),
        ({"end": len(TEXT) + 1}, "is not within"),
        ({"end": "9"}, "is not within"),
        ({"start": True}, "is not within"),
        ({"label": "rude"}, "use one of false-claim"),
        ({"label": ["false-claim"]}, "use one of false-claim"),
        ({"completion": 10**9}, "not part of this item"),
        ({"completion": None}, "not part of this item"),
        ({"colour": "red"}, "not a span"),
    ],
)
def test_a_wrong_span_is_refused_with_its_number(task, user, change, told):
    with pytest.raises(Refused) as refused:
        feedback.submit(assignment=task, by=user, stars=2, spans=[span(task), span(task, **change)])
    assert refused.value.errors["spans"].startswith("Span 2:") and told in refused.value.errors["spans"]
    assert not Rating.objects.exists() and not Span.objects.exists()


@pytest.mark.parametrize("spans", ["[]]", {"a": 1}, 7])
def test_what_is_no_list_is_no_list_of_spans(task, user, spans):
    with pytest.raises(Refused, match="not a list of spans"):
        feedback.submit(assignment=task, by=user, stars=2, spans=spans)


def test_the_same_span_twice_is_refused(task, user):
    with pytest.raises(Refused, match="twice"):
        feedback.submit(assignment=task, by=user, spans=[span(task), span(task)])


def test_a_project_without_labels_takes_no_spans(user, task):
    task.project.scales.all().delete()
    with pytest.raises(Refused, match="no span labels"):
        feedback.submit(assignment=task, by=user, stars=2, spans=[span(task)])


def test_undo_takes_spans_back(task, user):
    feedback.submit(assignment=task, by=user, stars=2, spans=[span(task)])
    feedback.undo(assignment=task, by=user)
    assert Span.objects.get().status == "withdrawn"


def test_spans_are_frozen_where_there_are_any(project, task, user):
    feedback.submit(assignment=task, by=user, stars=2, spans=[span(task)])
    dataset = freeze(project=project, kind="preferences", name="d", by=make_user(project, role="researcher"))
    assert list(frozen_rows.read(dataset.path, "spans")) == [
        {
            "completion": task.completion_a_id,
            "start": 8,
            "end": 9,
            "label": "false-claim",
            "text": "🍋",
            "author": user.pk,
        }
    ]
    assert dataset.spans.count() == 1 and dataset.counts["spans"] == 1
    exported = [json.loads(line) for line in export(dataset, "jsonl")]
    assert exported[-1] == {
        "type": "span",
        "prompt": task.prompt.messages,
        "completion": TEXT,
        **{"start": 8, "end": 9, "label": "false-claim", "author": user.pk},
    }


def test_a_flag_goes_to_the_reviewers_and_the_item_stays(task, user):
    raised = flags.flag(assignment=task, by=user, reason="Off topic", completion=task.completion_a, comment="Lemons?")
    assert (raised.reason, raised.comment, raised.completion, raised.prompt) == (
        "Off topic",
        "Lemons?",
        task.completion_a,
        task.prompt,
    )
    task.refresh_from_db()
    assert task.state == "open"
    assert flags.flag(assignment=task, by=user, reason="Broken or cut off").completion is None


def test_the_same_flag_is_raised_once(task, user):
    first = flags.flag(assignment=task, by=user, reason="Off topic")
    assert flags.flag(assignment=task, by=user, reason=" Off topic ") == first
    assert Flag.objects.count() == 1


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"reason": " "}, "reason"),
        ({"reason": "x" * 201}, "reason"),
        ({"reason": "a\x00b"}, "reason"),
        ({"reason": "Off topic", "comment": "x" * 10_001}, "comment"),
    ],
)
def test_a_wrong_flag_is_refused(task, user, said, field):
    with pytest.raises(Refused) as refused:
        flags.flag(assignment=task, by=user, **said)
    assert list(refused.value.errors) == [field] and not Flag.objects.exists()


def test_what_was_not_shown_is_not_flagged(task, user, project):
    stranger = make_completion(make_prompt(project))
    with pytest.raises(Refused, match="not part of this item"):
        flags.flag(assignment=task, by=user, reason="Off topic", completion=stranger)


def test_someone_elses_item_is_not_flagged(task, project):
    with pytest.raises(Refused) as refused:
        flags.flag(assignment=task, by=make_user(project), reason="Off topic")
    assert refused.value.status == 403


def test_a_flag_is_raised_from_the_page(client, task, user, project):
    client.force_login(user)
    sent = {"assignment": task.pk, "completion": task.completion_a_id, "reason": "Off topic", "comment": ""}
    assert client.post(reverse("annotate-flag", args=[project.slug]), sent).status_code == 302
    assert Flag.objects.get().completion == task.completion_a
    fragment = client.post(
        reverse("annotate-flag", args=[project.slug]), sent | {"completion": ""}, HTTP_HX_REQUEST="true"
    )
    assert fragment.status_code == 200 and 'role="status"' in fragment.content.decode()
    refused = client.post(reverse("annotate-flag", args=[project.slug]), sent | {"reason": ""}, HTTP_HX_REQUEST="true")
    assert refused.status_code == 400 and 'role="alert"' in refused.content.decode()
    assert Flag.objects.count() == 2


def test_a_flag_is_taken_back_from_the_page_and_its_row_stays(client, task, user, project):
    client.force_login(user)
    sent = {"assignment": task.pk, "completion": task.completion_a_id, "reason": "Off topic"}
    html = client.post(reverse("annotate-flag", args=[project.slug]), sent, HTTP_HX_REQUEST="true").content.decode()
    assert reverse("annotate-unflag", args=[project.slug]) in html
    undo = reverse("annotate-unflag", args=[project.slug])
    again = client.post(undo, {"assignment": task.pk}, HTTP_HX_REQUEST="true").content.decode()
    assert 'data-act="flag"' in again and "What is it about?" in again
    assert Flag.objects.get().status == "withdrawn"
    assert StatusChange.objects.get(kind="flag").after == "withdrawn"
    assert client.post(undo, {"assignment": task.pk}).status_code == 409


def test_a_flag_whose_withdrawal_arrives_twice_is_taken_back_once(client, task, user, project):
    flags.flag(assignment=task, by=user, reason="Off topic")
    client.force_login(user)
    sent = {"assignment": task.pk, "act_key": "k-unflag"}
    for _ in range(2):
        reply = client.post(reverse("annotate-unflag", args=[project.slug]), sent, HTTP_HX_REQUEST="true")
        assert reply.status_code == 200 and 'data-act="flag"' in reply.content.decode()
    assert StatusChange.objects.filter(kind="flag").count() == 1


def test_a_flag_says_what_it_means_before_it_is_raised(client, user, project):
    client.force_login(user)
    assignment = make_assignment(user, *make_pair(project))
    html = client.get(reverse("annotate", args=[project.slug])).content.decode()
    assert html.count('name="completion" value=') == 3 and "The prompt <kbd>P</kbd>" in html
    sent = {"assignment": assignment.pk, "reason": "Off topic"}
    refused = client.post(reverse("annotate-flag", args=[project.slug]), sent, HTTP_HX_REQUEST="true")
    assert refused.status_code == 400 and "Choose what it is about" in refused.content.decode()
    client.post(reverse("annotate-flag", args=[project.slug]), sent | {"completion": ""}, HTTP_HX_REQUEST="true")
    assert Flag.objects.get().completion is None


def test_nobody_takes_back_what_somebody_else_has_flagged(client, task, user, project):
    raised = flags.flag(assignment=task, by=user, reason="Off topic")
    client.force_login(make_user(project))
    undo = reverse("annotate-unflag", args=[project.slug])
    assert client.post(undo, {"assignment": task.pk, "flag": raised.pk}).status_code == 403
    assert client.delete(f"/api/v1/assignments/{task.pk}/flag/").status_code in (403, 404)
    client.force_login(user)
    assert client.delete(f"/api/v1/assignments/{task.pk}/flag/").status_code == 204
    raised.refresh_from_db()
    assert raised.status == "withdrawn"


def test_reviewers_see_flags_and_annotators_their_own(client, task, user, project):
    flags.flag(assignment=task, by=user, reason="Names the model", completion=task.completion_a)
    address = reverse("votes", args=[project.slug]) + "?kind=flag"
    client.force_login(make_user(project, role="reviewer"))
    assert "Names the model" in client.get(address).content.decode()
    client.force_login(user)
    assert "Names the model" in client.get(address).content.decode()
    client.force_login(make_user(project))
    assert "Names the model" not in client.get(address).content.decode()


def test_programs_flag_and_mark_by_the_same_rules(project):
    annotator = program(project)
    task = make_assignment(annotator.user, make_completion(make_prompt(project), TEXT))
    raised = annotator.post(f"assignments/{task.pk}/flag/", {"reason": "Off topic", "completion": task.completion_a_id})
    assert raised.status_code == 201 and raised.json()["completion"] == task.completion_a_id
    assert "completion" in errors(
        annotator.post(f"assignments/{task.pk}/flag/", {"reason": "x", "completion": 10**9}), 400
    )
    assert "reason" in errors(annotator.post(f"assignments/{task.pk}/flag/", {"reason": ""}), 400)
    assert annotator.post(f"assignments/{task.pk}/submit/", {"stars": 2, "spans": [span(task)]}).status_code == 201
    assert annotator.get("spans/", project=project.slug).json()["results"][0]["text"] == "🍋"
    reviewer = program(project, role="reviewer")
    assert reviewer.get("flags/", project=project.slug).json()["results"][0]["reason"] == "Off topic"
    assert program(project).get("flags/").json()["results"] == []


def test_a_wrong_label_is_refused_by_field(project):
    annotator = program(project)
    task = make_assignment(annotator.user, *make_pair(project))
    body = {"winner": "tie", "spans": [{"completion": task.completion_a_id, "start": 0, "end": 2, "label": "odd"}]}
    assert "spans" in errors(annotator.post(f"assignments/{task.pk}/submit/", body), 400)
    assert Span.objects.count() == 0
