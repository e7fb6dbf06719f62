"""The language of a prompt: from files in the usual names, by the API, on the pages, and out again."""

from __future__ import annotations

import io
import json

import pytest
from django.urls import reverse

from annotate.data.exports.actions import export_feedback
from annotate.data.formats import READERS, detect
from annotate.data.imports.actions import Order, start_import
from annotate.models import AuditEntry, Prompt, QueueChange
from tests.support.annotate.importing import carry_out
from tests.support.api_client import errors, program
from tests.support.factories import make_completion, make_prompt, make_user, sign_in

pytestmark = pytest.mark.django_db
USER = {"role": "user", "content": "Warum?"}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Warum?"},
        {"text": "Warum?"},
        {"instruction": "Warum?", "input": "", "output": "Darum."},
        {"question_id": 81, "turns": ["Warum?", "Und dann?"]},
        {"prompt": "Warum?", "chosen": "Darum.", "rejected": "Nur so."},
        {"conversation": [USER, {"role": "assistant", "content": "Darum."}], "model": "vicuna"},
    ],
)
@pytest.mark.parametrize("name", ["language", "lang"])
def test_the_usual_names_of_a_language_are_known(row, name):
    row = {**row, name: "de"}
    [item] = READERS[detect([row])](row, 1)
    assert item.language == "de"


def test_an_import_keeps_the_tag_with_the_prompt_and_the_word_with_the_annotation(project):
    by = make_user(project, role="researcher")
    votes = [
        {"prompt": text, "chosen": f"Yes {text}", "rejected": f"No {text}", **language}
        for text, language in (("A?", {"language": "Portuguese"}), ("B?", {"lang": "pt_br"}), ("C?", {}))
    ]
    content = b"\n".join(json.dumps(row).encode() for row in votes)
    done = carry_out(start_import(project=project, file=io.BytesIO(content), file_name="v.jsonl", order=Order(), by=by))
    assert done.counts["comparisons"] == 3
    tags = {prompt.text: prompt.language for prompt in Prompt.objects.all()}
    assert tags == {"A?": "pt", "B?": "pt-BR", "C?": ""}
    out = b"".join(export_feedback(project=project, by=by, format="assay").parts).decode().splitlines()
    assert {row["prompt"][0]["content"]: row.get("language", "") for row in map(json.loads, out)} == {
        "A?": "Portuguese", "B?": "pt_br", "C?": "",
    }  # fmt: skip


def test_prompts_alone_come_out_with_their_language(project):
    make_prompt(project, "Warum?", language="de")
    by = make_user(project, role="researcher")
    out = b"".join(export_feedback(project=project, by=by, format="assay").parts)
    assert json.loads(out)["language"] == "de"


def test_a_program_sends_filters_and_changes_it(project):
    researcher = program(project, "researcher")
    body = {"project": project.slug, "text": "Por quê?", "language": "PT-br"}
    created = researcher.post("prompts/", body).json()
    assert created["language"] == "pt-BR"
    make_prompt(project, "Why?")
    assert [row["id"] for row in researcher.get("prompts/", language="pt-BR").json()["results"]] == [created["id"]]
    assert "language" in errors(researcher.post("prompts/", body | {"text": "Hm?", "language": "brazilian!"}))
    assert researcher.patch(f"prompts/{created['id']}/", {"language": ""}).json()["language"] == ""
    told = errors(researcher.patch(f"prompts/{created['id']}/", {"language": "german"}))
    assert "such as de or pt-BR" in told["language"]


def test_the_pages_show_filter_and_change_it(client, project):
    user = sign_in(client, project, "researcher")
    page = reverse("prompts", args=[project.slug])
    asked, other = make_prompt(project, "Warum?"), make_prompt(project, "Why?")
    assert 'name="language"' not in client.get(page).content.decode(), "no filter without a language"
    make_completion(asked)
    QueueChange.objects.all().delete()
    address = reverse("prompt", args=[project.slug, asked.pk])
    assert client.post(address, {"turn-0": "Warum?", "category": "", "language": "DE"}).url == address
    asked.refresh_from_db()
    assert asked.language == "de" and QueueChange.objects.get().prompts == [asked.pk], "it waits for other people now"
    assert AuditEntry.objects.get(actor=user).changes == {"language": ["", "de"]}
    found = client.get(page, {"language": "de"})
    assert [prompt for prompt, _ in found.context["rows"]] == [asked] and other.language == ""
    refused = client.post(address, {"turn-0": "Warum?", "category": "", "language": "deutsch!"})
    assert refused.status_code == 400 and 'value="deutsch!"' in refused.content.decode()
    sign_in(client, project, "reviewer")
    assert "Language: de." in client.get(address).content.decode()


def test_a_newer_version_keeps_it(client, project):
    sign_in(client, project, "researcher")
    old = make_completion(make_prompt(project, "Warum?", language="de")).prompt
    client.post(reverse("prompt", args=[project.slug, old.pk]), {"turn-0": "Warum denn?", "language": "de"})
    assert Prompt.objects.get(replaces=old).language == "de"
