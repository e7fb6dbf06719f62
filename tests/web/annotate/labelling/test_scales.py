"""A project's own scales: what annotators may answer by, what they must, and what a scale in use may still become."""

from __future__ import annotations

import json

import pytest
from django.urls import reverse
from django.utils.html import escape

from annotate.core.errors import Refused
from annotate.labelling import actions as feedback
from annotate.labelling.forms.needed_fields import form_needs
from annotate.labelling.scales import actions as scales
from annotate.labelling.scales.declared import scales_in
from annotate.models import AuditEntry, Rating, Scale
from tests.support.api_client import errors, program
from tests.support.factories import (
    make_assignment,
    make_completion,
    make_pair,
    make_prompt,
    make_scale,
    make_user,
)

pytestmark = pytest.mark.django_db


def to_rate(project, user):
    return make_assignment(user, make_completion(make_prompt(project), "An answer."))


def refusal(**said) -> dict[str, str]:
    with pytest.raises(Refused) as refused:
        feedback.submit(**said)
    assert not Rating.objects.exists()
    return refused.value.errors


def test_who_rates_nothing_is_told_what_this_project_asks_for(project, user):
    make_scale(project, "aspect", "helpful")
    said = refusal(assignment=to_rate(project, user), by=user)["stars"]
    assert "Rate the answer: helpful. Or skip" in said and "thumbs" not in said


def test_the_form_brings_along_by_what_rule_the_server_refuses(project, user, client):
    """The page goes on by itself only with what is whole by this list."""
    make_scale(project, "stars", "overall", is_required=True)
    make_scale(project, "aspect", "helpful", is_required=True)
    asked = scales_in(project)
    any_of = [["stars"], ["thumbs"], ["aspect-helpful"], ["text"], ["spans"]]
    assert form_needs("rate", asked, [7]) == [any_of, [["stars"]], [["aspect-helpful"]]]
    assert form_needs("rank", asked, [7, 9]) == [[["rank-7", "rank-9"], ["text"]]]
    assert form_needs("compare", asked, [7, 9]) == [[["choice"], ["text"]]] and form_needs("write", asked, []) == [
        [["text"]]
    ]
    assignment = to_rate(project, user)
    assert "required" in refusal(assignment=assignment, by=user, stars=4)["aspects"]
    client.force_login(user)
    html = client.get(reverse("annotate", args=[project.slug])).content.decode()
    assert 'data-needs="' + escape(json.dumps([any_of, [["stars"]], [["aspect-helpful"]]])) in html


def test_without_scales_a_project_asks_for_thumbs_stars_and_the_better_one(project):
    asked = {kind: [scale.name for scale in found] for kind, found in scales_in(project).items()}
    assert asked == {
        "thumbs": ["thumbs"],
        "stars": ["stars"],
        "aspect": [],
        "comparison": ["better"],
        "ranking": ["ranking"],
        "span": [],
    }


def test_with_a_scale_of_its_own_a_project_asks_for_that_alone(project):
    make_scale(project, "aspect", "helpful", position=2)
    make_scale(project, "aspect", "honest", position=1)
    asked = scales_in(project)
    assert [scale.name for scale in asked["aspect"]] == ["honest", "helpful"]
    assert asked["thumbs"] == asked["stars"] == [] and asked["comparison"]


def test_only_declared_aspects_are_accepted(project, user):
    make_scale(project, "aspect", "helpful")
    task = to_rate(project, user)
    told = refusal(assignment=task, by=user, aspects={"helpful": 4, "witty": 2})
    assert "'witty' is not an aspect" in told["aspects"] and "helpful" in told["aspects"]
    assert "asks for helpful" in refusal(assignment=task, by=user, stars=4)["stars"]
    assert feedback.submit(assignment=task, by=user, aspects={"helpful": 4}).aspects == {"helpful": 4}


def test_without_declared_scales_aspects_are_free(project, user):
    assert feedback.submit(assignment=to_rate(project, user), by=user, aspects={"witty": 2}).aspects == {"witty": 2}


def test_a_retired_aspect_is_asked_for_no_more(project, user, manager):
    make_scale(project, "aspect", "helpful")
    scales.retire(scale=make_scale(project, "aspect", "honest"), by=manager)
    told = refusal(assignment=to_rate(project, user), by=user, aspects={"helpful": 1, "honest": 1})
    assert "'honest'" in told["aspects"]


@pytest.mark.parametrize(
    ("kind", "said", "field"),
    [
        ("aspect", {"thumbs": True}, "aspects"),
        ("stars", {"thumbs": True}, "stars"),
        ("stars", {"text": "My own."}, "stars"),
        ("thumbs", {"aspects": {"other": 3}}, "thumbs"),
    ],
)
def test_what_is_required_is_required(project, user, kind, said, field):
    make_scale(project, kind, "wanted", title="The wanted one", is_required=True)
    for other in {"thumbs", "stars", "aspect"} - {kind}:
        make_scale(project, other, "other")
    assert "The wanted one is required" in refusal(assignment=to_rate(project, user), by=user, **said)[field]


def test_a_required_comparison_is_not_replaced_by_an_answer(project, user):
    make_scale(project, "comparison", "better", is_required=True)
    task = make_assignment(user, *make_pair(project))
    assert "winner" in refusal(assignment=task, by=user, text="Neither; this.")


def test_what_rates_answers_is_not_required_where_two_are_compared(project, user):
    make_scale(project, "stars", "stars", is_required=True)
    task = make_assignment(user, *make_pair(project))
    assert feedback.submit(assignment=task, by=user, winner="tie").winner == "tie"


def test_a_manager_adds_a_scale_and_the_trail_tells(project, manager):
    made = scales.add(project=project, by=manager, kind="aspect", name="safe-to-do", definition="Nobody is hurt.")
    assert (made.title, made.definition) == ("Safe to do", "Nobody is hurt.")
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor, entry.about) == ("scale.added", manager, "aspect safe-to-do")
    assert entry.changes["definition"] == [None, "Nobody is hurt."]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"kind": "smell"}, "kind"),
        ({"name": "has space"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 41}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"title": "x" * 81}, "title"),
        ({"definition": "x" * 5001}, "definition"),
        ({"position": -1}, "position"),
        ({"colour": "red"}, "colour"),
        ({"kind": "span", "is_required": True}, "is_required"),
    ],
)
def test_a_wrong_scale_is_refused_by_field(project, manager, fields, field):
    with pytest.raises(Refused) as refused:
        scales.add(**{"project": project, "by": manager, "kind": "aspect", "name": "helpful", **fields})
    assert list(refused.value.errors) == [field]
    assert not Scale.objects.exists() and not AuditEntry.objects.exists()


def test_one_name_stands_once_and_a_retired_one_is_brought_back(project, manager):
    scale = scales.add(project=project, by=manager, kind="aspect", name="helpful")
    with pytest.raises(Refused, match="change that scale"):
        scales.add(project=project, by=manager, kind="aspect", name="helpful")
    scales.retire(scale=scale, by=manager)
    with pytest.raises(Refused, match="bring it back"):
        scales.add(project=project, by=manager, kind="aspect", name="helpful")
    assert scales.bring_back(scale=scale, by=manager).retired_at is None


def test_a_project_has_one_scale_of_stars(project, manager):
    scales.add(project=project, by=manager, kind="stars", name="stars")
    with pytest.raises(Refused) as refused:
        scales.add(project=project, by=manager, kind="stars", name="more-stars")
    assert refused.value.status == 409


def test_a_scale_in_use_keeps_its_name_and_is_not_deleted(project, user, manager):
    scale = make_scale(project, "aspect", "helpful")
    feedback.submit(assignment=to_rate(project, user), by=user, aspects={"helpful": 4})
    assert scales.in_use(scale)
    with pytest.raises(Refused, match="retire the scale"):
        scales.change(scale=scale, by=manager, name="useful")
    with pytest.raises(Refused, match="retire it instead"):
        scales.delete(scale=scale, by=manager)
    scales.change(scale=scale, by=manager, title="Helpful to whom asked")
    scale.refresh_from_db()
    assert (scale.name, scale.title) == ("helpful", "Helpful to whom asked")


def test_a_scale_that_nobody_used_is_renamed_and_deleted(project, manager):
    scale = make_scale(project, "aspect", "helpfull")
    scales.change(scale=scale, by=manager, name="helpful")
    assert Scale.objects.get().name == "helpful"
    scales.delete(scale=scale, by=manager)
    assert not Scale.objects.exists()
    assert [entry.action for entry in AuditEntry.objects.order_by("pk")] == ["scale.changed", "scale.deleted"]


def test_only_managers_change_scales(project, user):
    for act in (
        lambda: scales.add(project=project, by=user, kind="aspect", name="helpful"),
        lambda: scales.retire(scale=make_scale(project, "aspect", "honest"), by=user),
    ):
        with pytest.raises(Refused) as refused:
            act()
        assert refused.value.status == 403


def test_managers_keep_scales_on_a_page(client, project, manager):
    client.force_login(manager)
    address = reverse("scales", args=[project.slug])
    sent = {"do": "add", "kind": "aspect", "name": "helpful", "title": "Helpful", "is_required": "on"}
    wrong = client.post(address, sent | {"name": "not a name"})
    assert wrong.status_code == 400 and 'name="is_required" checked' in wrong.content.decode()
    assert client.post(address, sent).status_code == 302
    scale = Scale.objects.get()
    assert scale.is_required
    page = client.get(address).content.decode()
    assert "Helpful" in page and 'value="delete"' in page
    client.post(address, {"do": "change", "scale": scale.pk, "name": "helpful", "title": "Does it help?"})
    scale.refresh_from_db()
    assert (scale.title, scale.is_required) == ("Does it help?", False)
    client.post(address, {"do": "retire", "scale": scale.pk})
    scale.refresh_from_db()
    assert scale.retired_at


def test_a_refused_scale_keeps_what_was_typed(client, project, manager):
    client.force_login(manager)
    response = client.post(
        reverse("scales", args=[project.slug]),
        {"do": "add", "kind": "aspect", "name": "not a name", "definition": "Long thought over."},
    )
    page = response.content.decode()
    assert response.status_code == 400 and "not a name" in page and "Long thought over." in page
    assert not Scale.objects.exists()


@pytest.mark.parametrize("role", ["annotator", "reviewer", "researcher"])
def test_the_scales_page_is_for_managers(client, project, role):
    client.force_login(make_user(project, role=role))
    assert client.get(reverse("scales", args=[project.slug])).status_code == 403


def test_programs_keep_scales_by_the_same_rules(project):
    manager = program(project, role="manager")
    made = manager.post(
        f"projects/{project.slug}/scales/", {"kind": "span", "name": "false-claim", "title": "False claim"}
    )
    assert made.status_code == 201 and made.json()["in_use"] is False
    address = f"projects/{project.slug}/scales/{made.json()['id']}/"
    assert manager.patch(address, {"definition": "Not true."}).json()["definition"] == "Not true."
    assert manager.patch(address, {"retired": True}).json()["retired_at"]
    assert manager.patch(address, {"retired": False}).json()["retired_at"] is None
    assert "title" in errors(manager.patch(address, {}), 400)
    assert "kind" in errors(manager.patch(address, {"kind": "aspect"}), 400)
    annotator = program(project)
    assert annotator.get(f"projects/{project.slug}/scales/").json()[0]["name"] == "false-claim"
    assert annotator.patch(address, {"title": "Mine"}).status_code == 403
    assert annotator.delete(address).status_code == 403
    assert manager.delete(address).status_code == 204
    assert manager.get(f"projects/{project.slug}/scales/").json() == []
