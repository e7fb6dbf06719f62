"""Pages and API of fair work: what each role sees, and that a page can do no more than the API."""

from __future__ import annotations

import json

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from annotate.labelling import actions as feedback
from annotate.labelling import assigning as assignments
from annotate.labelling import assignment_lifecycle
from annotate.labelling.gold import scoring as gold
from annotate.models import Assignment, GoldItem, Membership
from tests.support.factories import (
    make_assignment,
    make_completion,
    make_guideline,
    make_pair,
    make_project,
    make_prompt,
    make_user,
)

pytestmark = pytest.mark.django_db


def browser(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


def program(user) -> APIClient:
    client = APIClient()
    client.force_authenticate(user)
    return client


def html(response, status=200) -> str:
    assert response.status_code == status, response.content.decode()[:500]
    return response.content.decode()


def page(name, project, *args) -> str:
    return reverse(name, args=[project.slug, *args])


def make_gold(project, **fields) -> GoldItem:
    a, b = make_pair(project)
    return GoldItem.objects.create(
        project=project, kind="compare", prompt=a.prompt, completion_a=a, completion_b=b,
        expected={"winner": ["model_a"]}, explanation="It answers *what was asked*.", **fields,
    )  # fmt: skip


def disputed(project):
    a, b = make_pair(project)
    for completion in (a, b):
        user = make_user(project)
        assignment = assignments.next_for(project=project, user=user)
        winner = "model_a" if assignment.completion_a == completion else "model_b"
        feedback.submit(assignment=assignment, by=user, winner=winner, comment=f"For {completion.pk}.")
    return f"compare:{a.pk}:{b.pk}", assignment


# --- before the next item ---


def test_the_guidelines_are_read_on_a_page_that_tells_what_changed():
    project = make_project()
    make_pair(project)
    make_guideline(project, "Prefer the *true* one.")
    user = make_user(project)
    client = browser(user)
    response = client.get(page("annotate", project))
    assert response.status_code == 302 and response.url == page("reading", project)
    text = html(client.get(page("reading", project)))
    assert "<em>true</em>" in text and "What has changed" not in text
    response = client.post(page("reading", project), {"what": "guidelines", "version": "1"})
    assert response.url == page("annotate", project)
    assert html(client.get(page("annotate", project)))
    assignment_lifecycle.skip(assignment=assignments.next_for(project=project, user=user), by=user, reason="no")
    make_guideline(project, "Prefer the *kind* one.")
    text = html(client.get(page("reading", project)))
    assert "What has changed since version 1" in text
    assert "<del>Prefer the *true* one.</del>" in text and "<ins>Prefer the *kind* one.</ins>" in text
    client.post(page("reading", project), {"what": "guidelines", "version": "1"})  # it is not this one any more
    assert client.get(page("annotate", project)).url == page("reading", project)


def test_with_htmx_an_annotation_is_kept_and_the_reply_leads_to_what_comes_first():
    project = make_project(asks_comparisons=False)
    for _ in range(2):
        make_completion(make_prompt(project))
    user = make_user(project)
    held = assignments.next_for(project=project, user=user)
    make_guideline(project)
    response = browser(user).post(
        page("annotate", project), {"assignment": held.pk, "stars": "4"}, headers={"HX-Request": "true"}
    )
    assert response["HX-Redirect"] == page("reading", project)
    held.refresh_from_db()
    assert held.state == "submitted"


def test_a_program_is_told_what_comes_first_and_does_it():
    project = make_project()
    make_pair(project)
    make_guideline(project, "Prefer the true one.")
    client = program(make_user(project))
    address = f"/api/v1/projects/{project.slug}"
    response = client.post(f"{address}/assignments/")
    assert response.status_code == 409 and list(response.json()["errors"]) == ["guidelines"]
    read = client.post(f"{address}/guidelines/read/")
    assert read.json() == {"version": 1, "text": "Prefer the true one."}
    assert client.post(f"{address}/assignments/").status_code == 200


def test_the_tutorial_goes_through_the_annotators_own_form_and_explains():
    project = make_project(asks_ratings=False)
    known = make_gold(project, is_tutorial=True)
    make_pair(project)
    user = make_user(project)
    client = browser(user)
    assert client.get(page("reading", project)).url == page("tutorial", project)
    text = html(client.get(page("tutorial", project)))
    assert f'action="{page("tutorial", project)}"' in text
    lesson = Assignment.objects.get(purpose="tutorial")
    html(client.post(page("tutorial", project), {"assignment": lesson.pk}), 400)  # nothing chosen
    winner = "model_a" if lesson.completion_a_id != known.completion_a_id else "model_b"
    response = client.post(page("tutorial", project), {"assignment": lesson.pk, "choice": f"{winner}:2"})
    text = html(client.get(response.url))
    assert "Not quite" in text and "<em>what was asked</em>" in text
    assert "0 of 1" in html(client.get(page("tutorial", project)))
    assert html(client.get(page("annotate", project)))


def test_a_tutorial_of_items_that_one_has_annotated_before_gives_no_score():
    project = make_project(asks_ratings=False)
    known = make_gold(project, is_tutorial=True)
    user = make_user(project)
    make_assignment(user, known.completion_a, known.completion_b, state="submitted", closed_at=timezone.now())
    text = html(browser(user).get(page("tutorial", project)))
    assert "before it was made" in text and "of 1 right" not in text


def test_a_program_takes_the_tutorial_too():
    project = make_project(asks_ratings=False)
    make_gold(project, is_tutorial=True)
    client = program(make_user(project))
    address = f"/api/v1/projects/{project.slug}/tutorial/"
    task = client.post(address).json()
    assert client.get(f"/api/v1/assignments/{task['id']}/lesson/").status_code == 409
    client.post(f"/api/v1/assignments/{task['id']}/submit/", {"winner": "tie"}, format="json")
    lesson = client.get(f"/api/v1/assignments/{task['id']}/lesson/").json()
    assert lesson["is_right"] is False and lesson["expected"]["winner"][0] in ("model_a", "model_b")
    assert client.post(address).status_code == 204
    stranger = program(make_user(project))
    assert stranger.get(f"/api/v1/assignments/{task['id']}/lesson/").status_code == 404


def test_a_paused_judge_reads_why_and_a_manager_lets_them_go_on():
    project = make_project(asks_ratings=False)
    make_pair(project)
    user, manager = make_user(project), make_user(project, role="manager")
    boss, client = browser(manager), browser(user)
    boss.post(page("gold-lift", project), {"username": user.username, "do": "pause", "note": "Answers too fast."})
    text = html(client.get(client.get(page("annotate", project)).url))
    assert "You are paused in this project" in text and "Answers too fast." in text
    assert "Answers too fast." in html(boss.get(page("gold", project)))
    boss.post(page("gold-lift", project), {"username": user.username, "do": "lift", "note": "Take *your* time."})
    assert "<em>your</em>" in html(client.get(page("reading", project)))
    client.post(page("reading", project), {"what": "warning"})
    assert html(client.get(page("annotate", project)))


def test_nothing_that_is_sent_tells_a_known_item_or_a_repeat_from_others():
    project = make_project(asks_ratings=False)
    known = make_gold(project)
    user = make_user(project)
    with_gold = assignments.hand_out_gold(project, user, known, Assignment.Purpose.GOLD)
    body = program(user).get(f"/api/v1/assignments/{with_gold.pk}/").json()
    assert not {"purpose", "gold", "repeats", "gold_passed"} & set(body)
    text = html(browser(user).get(page("annotate", project)))
    assert "gold" not in text.lower() and "known" not in text.lower() and "It answers" not in text
    receipt = program(user).post(f"/api/v1/assignments/{with_gold.pk}/submit/", {"winner": "tie"}, format="json")
    assert receipt.status_code == 201 and receipt.json()["counted"] is True
    assert "gold" not in json.dumps(receipt.json())


# --- known answers ---


def test_a_manager_makes_changes_and_retires_a_known_item():
    project = make_project()
    a, b = make_pair(project)
    manager = make_user(project, role="manager")
    client = browser(manager)
    address = page("gold", project)
    html(client.post(address, {"item": f"compare:{a.pk}:{b.pk}"}), 409)  # nobody has judged it
    html(client.post(address, {"item": "compare:x", "winner": "tie"}), 400)
    client.post(address, {"item": f"compare:{a.pk}:{b.pk}", "winner": ["tie", "both_bad"], "explanation": "Alike."})
    known = project.gold_items.get()
    assert known.expected == {"winner": ["both_bad", "tie"]}
    assert "about the same" in html(client.get(address))
    client.post(page("gold-change", project, known.pk), {"is_tutorial": "on", "position": "3", "explanation": "So."})
    known.refresh_from_db()
    assert (known.is_tutorial, known.position, known.explanation) == (True, 3, "So.")
    client.post(page("gold-change", project, known.pk), {"do": "retire"})
    known.refresh_from_db()
    assert known.retired_at is not None


def test_a_program_makes_changes_and_retires_a_known_item():
    project = make_project()
    a, b = make_pair(project)
    client = program(make_user(project, role="manager"))
    address = f"/api/v1/projects/{project.slug}/gold/"
    body = {"completions": [b.pk, a.pk], "expected": {"winner": ["model_a"]}, "explanation": "Shorter."}
    made = client.post(address, body, format="json").json()
    assert made["completions"] == [b.pk, a.pk]
    assert client.post(address, {"item": "compare:1:2", "completions": [1]}, format="json").status_code == 400
    changed = client.patch(f"{address}{made['id']}/", {"position": 4, "retired": True}, format="json").json()
    assert changed["position"] == 4 and changed["retired_at"]
    assert [item["id"] for item in client.get(address).json()] == [made["id"]]


@pytest.mark.parametrize("name", ["gold", "adjudicate"])
def test_an_annotator_sees_neither_page(name):
    project = make_project()
    assert "You need the role" in html(browser(make_user(project)).get(page(name, project)), 403)


@pytest.mark.parametrize("path", ["gold/", "pauses/", "queue/", "disagreements/", "complaints/"])
def test_an_annotators_program_is_refused(path):
    project = make_project()
    assert program(make_user(project)).get(f"/api/v1/projects/{project.slug}/{path}").status_code == 403


# --- disagreements ---


def test_a_reviewer_reads_both_sides_without_names_and_decides():
    project = make_project(asks_ratings=False, overlap=2)
    key, last = disputed(project)
    reviewer = make_user(project, role="reviewer")
    client = browser(reviewer)
    assert key in html(client.get(page("adjudicate", project)))
    text = html(client.get(page("adjudicate-item", project, key)))
    assert "A is better" in text and "B is better" in text
    assert last.user.username not in text and "Annotator 1" in text
    assert last.user.username in html(client.get(page("adjudicate-item", project, key) + "?names=shown"))
    html(client.post(page("adjudicate-item", project, key), {}), 400)
    client.post(page("adjudicate-item", project, key), {"choice": "model_a:2", "comment": "It is true."})
    decided = project.comparisons.get(author=reviewer)
    first = int(key.split(":")[1])
    assert (decided.completion_a_id if decided.winner == "model_a" else decided.completion_b_id) == first
    assert "Decided" in html(client.get(page("adjudicate-item", project, key)))


def test_nothing_on_the_reviewers_page_names_a_model():
    project = make_project(asks_ratings=False, overlap=2)
    key, _ = disputed(project)
    text = html(browser(make_user(project, role="reviewer")).get(page("adjudicate-item", project, key)))
    names = project.comparisons.values_list("completion_a__model__name", "completion_b__model__name")
    assert not any(name in text for pair in names for name in pair)


def test_sending_back_by_page_reaches_the_judge_with_the_comment():
    project = make_project(asks_ratings=False, overlap=2)
    _, last = disputed(project)
    reviewer = make_user(project, role="reviewer")
    browser(reviewer).post(page("send-back", project, last.pk), {"comment": "Look at B again."})
    assert "Look at B again." in html(browser(last.user).get(page("annotate", project)))
    assert project.comparisons.filter(status="withdrawn").count() == 1


def test_a_program_reviews_with_the_same_rules():
    project = make_project(asks_ratings=False, overlap=2)
    key, last = disputed(project)
    reviewer = make_user(project, role="reviewer")
    client = program(reviewer)
    address = f"/api/v1/projects/{project.slug}"
    assert [row["item"] for row in client.get(f"{address}/disagreements/").json()] == [key]
    body = client.get(f"{address}/disagreements/{key}/").json()
    assert len(body["said"]) == 2
    task = client.post(f"{address}/adjudications/", {"item": key}, format="json").json()
    done = client.post(f"/api/v1/assignments/{task['id']}/submit/", {"winner": "tie"}, format="json")
    assert done.status_code == 201
    assert client.get(f"{address}/disagreements/").json() == []
    back = client.post(f"/api/v1/assignments/{last.pk}/send-back/", {"comment": "Again."}, format="json")
    assert back.status_code == 200
    assert program(last.user).get(f"/api/v1/assignments/{last.pk}/").json()["sent_back_comment"] == "Again."


def test_a_complaint_is_decided_by_page_and_by_program():
    project = make_project(asks_comparisons=False, overlap=9)
    prompt = make_prompt(project, "What is the?")
    make_completion(prompt)
    for _ in range(2):
        user = make_user(project)
        task = assignments.next_for(project=project, user=user)
        assignment_lifecycle.skip(assignment=task, by=user, reason="The prompt is unclear or broken")
    reviewer = make_user(project, role="reviewer")
    client = browser(reviewer)
    assert "What is the?" in html(client.get(page("adjudicate", project)))
    client.post(page("decide-prompt", project, prompt.pk), {"decision": "keep"})
    assert assignments.next_for(project=project, user=make_user(project)) is not None
    answer = program(reviewer).post(
        f"/api/v1/projects/{project.slug}/complaints/{prompt.pk}/",
        {"decision": "out", "reason": "No question."},
        format="json",
    )
    assert answer.json()["is_out"] is True
    assert assignments.next_for(project=project, user=make_user(project)) is None


def test_managers_are_told_what_comes_first_and_why():
    project = make_project(asks_ratings=False)
    make_pair(project)
    assignments.next_for(project=project, user=make_user(project))
    make_pair(project)
    assignments.next_for(project=project, user=make_user(project))
    make_pair(project)
    manager = make_user(project, role="manager")
    assignments.next_for(project=project, user=make_user(project))
    rows = program(manager).get(f"/api/v1/projects/{project.slug}/queue/").json()
    assert all(row["why"] for row in rows)
    assert "Next items, and why they come next" in html(browser(manager).get(page("adjudicate", project)))


def test_a_warning_is_seen_by_its_judge_alone_and_read_by_program():
    project = make_project(asks_ratings=False)
    user = make_user(project)
    Membership.objects.filter(user=user).update(notice="**Mind the guidelines.**")
    client = program(user)
    address = f"/api/v1/projects/{project.slug}/message/"
    assert client.get(address).json() == {"text": "**Mind the guidelines.**"}
    assert client.post(address).json() == {"text": ""}
    assert gold.standing(Membership.objects.get(user=user)).answered_ever == 0
