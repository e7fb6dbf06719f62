"""The pages of prompts: list, search, edit, retire; and the same rules by the API."""

from __future__ import annotations

import pytest
from django.urls import reverse

from annotate.arena.battles.pairing import draw
from annotate.core.errors import Refused
from annotate.data.datasets.actions import freeze
from annotate.data.prompts import editing, listing
from annotate.models import Assignment, AuditEntry, Battle, Prompt
from common import splits
from tests.support.api_client import errors, program
from tests.support.factories import (
    make_assignment,
    make_completion,
    make_model,
    make_prompt,
    make_user,
    sign_in,
)

pytestmark = pytest.mark.django_db


def shown(client, project, **query) -> list[int]:
    response = client.get(reverse("prompts", args=[project.slug]), query)
    assert response.status_code == 200
    return [prompt.pk for prompt, *_ in response.context["rows"]]


def texts(client, project, prompt) -> str:
    return client.get(reverse("prompt", args=[project.slug, prompt.pk])).content.decode()


@pytest.mark.parametrize("role", ["annotator", None])
def test_prompts_are_for_reviewers(client, project, role):
    prompt = make_prompt(project)
    client.force_login(make_user(project, role=role) if role else make_user())
    for name, args in (("prompts", []), ("prompt", [prompt.pk])):
        assert client.get(reverse(name, args=[project.slug, *args])).status_code == 403


def test_the_list_is_filtered_and_searched(client, project):
    sign_in(client, project, "reviewer")
    tide = make_prompt(project, "What is a tide?", category="science")
    ebbe = make_prompt(project, "Was ist eine Flut für Öffner?", side="eval")
    spoken = make_prompt(
        project, messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    )
    out = make_prompt(project, out_since=tide.created_at, out_reason="a name in it")
    assert shown(client, project) == [spoken.pk, ebbe.pk, tide.pk]
    assert shown(client, project, search="TIDE") == [tide.pk]
    assert shown(client, project, search="für Öffner") == [ebbe.pk]
    assert shown(client, project, search="be brief") == [spoken.pk]
    assert shown(client, project, search="content") == []
    assert shown(client, project, category="science") == [tide.pk]
    assert shown(client, project, side="eval") == [ebbe.pk]
    assert shown(client, project, state="retired") == [out.pk]
    assert len(shown(client, project, state="all")) == 4
    assert (
        "No prompts match" in client.get(reverse("prompts", args=[project.slug]), {"search": "x\x00y"}).content.decode()
    )


def test_long_lists_come_in_pages_of_few_queries(client, project, monkeypatch, django_assert_max_num_queries):
    monkeypatch.setattr(listing, "PER_PAGE", 3)
    sign_in(client, project, "reviewer")
    prompts = [make_prompt(project).pk for _ in range(7)]
    with django_assert_max_num_queries(25):
        assert shown(client, project) == prompts[:3:-1]
    assert shown(client, project, before=prompts[4]) == prompts[3:0:-1]
    assert shown(client, project, before=prompts[1]) == prompts[:1]
    assert shown(client, project, before="x" * 40) == prompts[:3:-1]


def test_a_search_reads_so_many_prompts_and_goes_on(client, project, monkeypatch):
    monkeypatch.setattr(listing, "SEARCHED", 3)
    sign_in(client, project, "reviewer")
    old = make_prompt(project, "What is a tide?")
    for _ in range(6):
        make_prompt(project)
    response = client.get(reverse("prompts", args=[project.slug]), {"search": "tide"})
    assert response.context["rows"] == [] and "Search the next 3 prompts" in response.content.decode()
    assert shown(client, project, search="tide", before=response.context["page"].before) == [old.pk]


def test_an_empty_split_is_told_with_a_remedy(client, project):
    sign_in(client, project, "manager")
    address = reverse("prompts", args=[project.slug])
    assert "split is empty" not in client.get(address).content.decode()
    for _ in range(11):
        make_prompt(project)
    html = client.get(address).content.decode()
    needed = listing.empty_split({"train": 11, "eval": 0}, project.eval_percent).needed
    assert "The eval split is empty" in html and f"Add about {needed} different prompts" in html
    make_prompt(project, side="eval")
    assert "split is empty" not in client.get(address).content.decode()


def test_how_many_prompts_fill_an_empty_split():
    assert listing.empty_split({"train": 5, "eval": 0}, 10).needed == 29
    assert listing.empty_split({"train": 0, "eval": 5}, 10).needed == 2
    assert listing.empty_split({"train": 5, "eval": 0}, 0).needed is None
    assert listing.empty_split({"train": 0, "eval": 0}, 10) is None


def test_a_prompt_without_answers_is_edited_in_place(client, project):
    user = sign_in(client, project, "researcher")
    prompt = make_prompt(project, "Wat is a tide?")
    assert "change it in place" in texts(client, project, prompt)
    address = reverse("prompt", args=[project.slug, prompt.pk])
    assert client.post(address, {"turn-0": "What is a tide?", "category": "science"}).url == address
    prompt.refresh_from_db()
    assert (prompt.text, prompt.category) == ("What is a tide?", "science")
    assert prompt.text_hash == splits.text_hash(prompt.messages)
    assert prompt.side == splits.split_of(prompt.messages, project.eval_percent)
    assert {entry.action for entry in AuditEntry.objects.filter(actor=user)} == {"prompt.edited", "prompt.category"}


def test_a_prompt_with_answers_is_replaced_and_retired(client, project):
    sign_in(client, project, "researcher")
    answer = make_completion(make_prompt(project, "Wat is a tide?", category="science", harm=""))
    old = answer.prompt
    holder = make_assignment(make_user(project), answer)
    response = client.post(reverse("prompt", args=[project.slug, old.pk]), {"turn-0": "What is a tide?"})
    new = Prompt.objects.exclude(pk=old.pk).get()
    assert response.url == reverse("prompt", args=[project.slug, new.pk])
    old.refresh_from_db()
    assert old.text == "Wat is a tide?" and old.out_since and old.replaced_by == new
    assert (new.text, new.category, new.source) == ("What is a tide?", "science", old.source)
    assert not new.completions.exists() and answer.prompt_id == old.pk
    holder.refresh_from_db()
    assert holder.state == Assignment.State.TAKEN_OUT
    assert reverse("prompt", args=[project.slug, new.pk]) in texts(client, project, old)
    assert reverse("prompt", args=[project.slug, old.pk]) in texts(client, project, new)
    assert AuditEntry.objects.get(action="prompt.replaced").changes["prompt"] == [old.pk, new.pk]
    refused = client.post(reverse("prompt", args=[project.slug, old.pk]), {"turn-0": "And again?"})
    assert refused.status_code == 409 and f"Prompt {new.pk} has replaced this one" in refused.content.decode()


def test_every_row_that_points_at_a_prompt_keeps_its_text(project):
    prompt = make_prompt(project)
    assert list(editing.depends_on(prompt)) == []
    freeze(project=project, kind="prompts", name="prompts", by=None, side="train")
    assert "datasets" in editing.depends_on(prompt)
    make_assignment(make_user(project), make_completion(prompt))
    assert {"completions", "assignment"} <= set(editing.depends_on(prompt))


@pytest.mark.parametrize(
    ("fields", "text", "status", "message"),
    [
        ({}, " ", 400, "must not be empty"),
        ({"source": "arena"}, "Another?", 409, "you can retire it, but not edit it"),
        ({}, "Is it THIS?", 409, "Only capitals or spaces differ"),
        ({}, "What is a tide?", 409, "has the same text"),
    ],
)
def test_a_wrong_edit_is_refused_and_keeps_what_was_typed(client, project, fields, text, status, message):
    sign_in(client, project, "researcher")
    make_prompt(project, "What is a tide?")
    prompt = make_prompt(project, "Is it this?", **fields)
    make_completion(prompt)
    refused = client.post(reverse("prompt", args=[project.slug, prompt.pk]), {"turn-0": text, "category": "mine"})
    html = refused.content.decode()
    assert refused.status_code == status and message in html and 'value="mine"' in html and text in html
    prompt.refresh_from_db()
    assert (prompt.text, prompt.category, prompt.out_since) == ("Is it this?", "", None)


def test_a_reviewer_retires_a_prompt_but_edits_none(client, project):
    sign_in(client, project, "reviewer")
    prompt = make_prompt(project)
    assert client.post(reverse("prompt", args=[project.slug, prompt.pk]), {"turn-0": "Mine?"}).status_code == 403
    assert ">Save<" not in texts(client, project, prompt)
    address = reverse("prompt-retire", args=[project.slug, prompt.pk])
    assert client.post(address, {"reason": " "}).status_code == 400
    client.post(address, {"reason": "a name in it", "do": "retire"})
    prompt.refresh_from_db()
    assert prompt.out_since and "a name in it" in texts(client, project, prompt)
    client.post(address, {"do": "back"})
    prompt.refresh_from_db()
    assert prompt.out_since is None


def test_a_replaced_prompt_does_not_come_back_beside_its_successor(client, project):
    sign_in(client, project, "researcher")
    old = make_completion(make_prompt(project)).prompt
    client.post(reverse("prompt", args=[project.slug, old.pk]), {"turn-0": "What is a tide?"})
    back = client.post(reverse("prompt-retire", args=[project.slug, old.pk]), {"do": "back"})
    assert back.status_code == 409 and "has replaced this one" in back.content.decode()


def test_nothing_new_comes_of_a_retired_prompt(project):
    prompt = make_prompt(project, side="eval", out_since="2026-01-01T00:00:00Z", out_reason="no")
    pair = (make_model(), make_model())
    with pytest.raises(Refused):
        draw(project, pair, Battle.objects.none(), is_outside=False)
    kept = make_prompt(project, side="eval")
    dataset = freeze(project=project, kind="prompts", name="asked", by=None, side="eval")
    assert list(dataset.prompts.all()) == [kept] and dataset.counts["left_out"]["retired"] == 1
    assert prompt.side == "eval"


def test_harm_is_withheld_from_whoever_has_not_agreed(client, project):
    sign_in(client, project, "researcher")
    prompt = make_prompt(project, "How do I hurt?", harm="violence")
    assert "How do I hurt?" not in client.get(reverse("prompts", args=[project.slug])).content.decode()
    assert "How do I hurt?" not in texts(client, project, prompt)
    assert client.post(reverse("prompt", args=[project.slug, prompt.pk]), {"turn-0": "Other?"}).status_code == 403


def test_a_form_that_sends_other_line_ends_changes_no_text(client, project):
    sign_in(client, project, "researcher")
    prompt = make_completion(make_prompt(project, "One\r\ntwo", answer="a\nb")).prompt
    sent = {"turn-0": "One\r\ntwo", "category": "new", "language": "", "answer": "a\r\nb"}
    assert client.post(reverse("prompt", args=[project.slug, prompt.pk]), sent).status_code == 302
    prompt.refresh_from_db()
    assert (prompt.category, prompt.text, prompt.answer) == ("new", "One\r\ntwo", "a\nb")


def test_a_program_edits_retires_and_brings_back(project):
    researcher = program(project, "researcher")
    prompt = make_completion(make_prompt(project, "Wat is it?")).prompt
    new = researcher.patch(f"prompts/{prompt.pk}/", {"text": "What is it?", "category": "short"}).json()
    assert new["id"] != prompt.pk and new["category"] == "short" and new["retired_at"] is None
    old = researcher.get(f"prompts/{prompt.pk}/").json()
    assert old["replaced_by"] == new["id"] and old["retired_at"]
    told = errors(researcher.patch(f"prompts/{new['id']}/", {"retired": True}))
    assert "reason" in told
    assert researcher.patch(f"prompts/{new['id']}/", {"retired": True, "reason": "no"}).json()["retired_reason"] == "no"
    listed = researcher.get("prompts/", project=project.slug, retired="true").json()["results"]
    assert [row["id"] for row in listed] == [prompt.pk, new["id"]]
    assert researcher.patch(f"prompts/{new['id']}/", {"retired": False}).json()["retired_at"] is None
    found = researcher.get("prompts/", project=project.slug, search="WHAT").json()["results"]
    assert [row["id"] for row in found] == [new["id"]]
    assert errors(program(project, "reviewer").patch(f"prompts/{new['id']}/", {"category": "x"}), 403)
    assert errors(program().patch(f"prompts/{new['id']}/", {"category": "x"}), 403)
