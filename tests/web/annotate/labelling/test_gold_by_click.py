"""A gold item by one click on an annotation: no key is typed."""

from __future__ import annotations

import pytest
from django.urls import reverse

from annotate.models import Assignment, GoldItem
from tests.support.factories import (
    make_assignment,
    make_comparison,
    make_completion,
    make_pair,
    make_prompt,
    make_rating,
    make_user,
    sign_in,
)

pytestmark = pytest.mark.django_db


def address(project, kind, pk) -> str:
    return reverse("gold-from", args=[project.slug, kind, pk])


def test_a_comparison_becomes_a_gold_item_by_one_click_and_a_confirmation(client, project):
    manager = sign_in(client, project, "manager")
    a, b = make_pair(project)
    vote = make_comparison(b, a, "model_a")  # the answer with the larger id was on the left
    link = address(project, "comparison", vote.pk)
    assert link in client.get(reverse("votes", args=[project.slug])).content.decode()
    page = client.get(link)
    assert page.context["expected"] == {"winner": ["model_b"]} and 'value="model_b" checked' in page.content.decode()
    assert client.post(link, {"winner": "model_b"}).url == reverse("gold", args=[project.slug])
    item = GoldItem.objects.get()
    assert (item.completion_a, item.completion_b, item.expected) == (a, b, {"winner": ["model_b"]})
    assert item.created_by == manager
    again = client.get(link).content.decode()
    assert f"gold item {item.pk}</a>" in again and ">Add gold item<" not in again
    assert client.post(link, {"winner": "model_b"}).status_code == 409


def test_a_rating_becomes_a_gold_item_and_keeps_what_was_typed_when_refused(client, project):
    sign_in(client, project, "manager")
    rating = make_rating(make_completion(make_prompt(project)), stars=4, thumbs=True)
    link = address(project, "rating", rating.pk)
    html = client.get(link).content.decode()
    assert 'value="4" checked' in html and 'value="up" checked' in html
    wrong = client.post(link, {"explanation": "It is true."})
    assert wrong.status_code == 400 and "It is true." in wrong.content.decode() and not GoldItem.objects.exists()
    client.post(link, {"stars": ["4", "5"], "explanation": "It is true.", "is_tutorial": "on", "position": "2"})
    item = GoldItem.objects.get()
    fields = (item.expected, item.explanation, item.is_tutorial, item.position)
    assert fields == ({"stars": [4, 5]}, "It is true.", True, 2)


def test_an_annotation_of_the_eval_split_makes_none(client, project):
    sign_in(client, project, "manager")
    vote = make_comparison(*make_pair(project, side="eval"))
    link = address(project, "comparison", vote.pk)
    assert link not in client.get(reverse("votes", args=[project.slug])).content.decode()
    assert "is in the eval split" in client.get(link).content.decode()
    assert client.post(link, {"winner": "model_a"}).status_code == 400 and not GoldItem.objects.exists()


@pytest.mark.parametrize("role", ["annotator", "reviewer", "researcher"])
def test_gold_items_are_for_managers(client, project, role):
    sign_in(client, project, role)
    vote = make_comparison(*make_pair(project), source="arena")
    link = address(project, "comparison", vote.pk)
    assert "Make this a gold item" not in client.get(reverse("votes", args=[project.slug])).content.decode()
    assert client.get(link).status_code == client.post(link, {"winner": "model_a"}).status_code == 403


def test_a_wrong_key_leaves_what_was_ticked(client, project):
    sign_in(client, project, "manager")
    sent = {"item": "compare:1:x", "winner": ["model_b", "tie"], "is_tutorial": "on"}
    response = client.post(reverse("gold", args=[project.slug]), sent)
    html = response.content.decode()
    assert response.status_code == 400
    for box in ('name="winner" value="model_b"', 'name="winner" value="tie"', 'name="is_tutorial"'):
        assert f"{box} checked" in html
    assert html.count("checked") == 3


def test_disagreements_and_the_own_history_have_the_link_too(client, project):
    manager = sign_in(client, project, "manager")
    a, b = make_pair(project)
    for author in (manager, make_user(project)):
        work = make_assignment(author, a, b, state=Assignment.State.SUBMITTED)
        vote = make_comparison(a, b, author=author, assignment=work)
    page = client.get(reverse("adjudicate-item", args=[project.slug, work.item])).content.decode()
    link = address(project, "assignment", work.pk)
    assert link in page and client.get(link).context["expected"] == {"winner": [vote.winner]}
    own = client.get(reverse("annotate-history", args=[project.slug])).content.decode()
    assert own.count("Make this a gold item") == 1


def test_no_other_row_is_a_gold_item(client, project):
    sign_in(client, project, "manager")
    for kind, pk in (("comparison", 10**6), ("span", 1), ("assignment", 10**6)):
        assert client.get(address(project, kind, pk)).status_code == 404
