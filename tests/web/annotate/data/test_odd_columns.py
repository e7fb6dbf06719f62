"""Columns whose names or values are no text that UTF-8 can hold, and very many of them: told, never a failed page."""

from __future__ import annotations

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from annotate.data.formats import READERS
from annotate.data.imports.column_uses import column_uses
from tests.support.annotate.importing import look_at, work_off_imports
from tests.support.api_client import program
from tests.support.factories import sign_in

pytestmark = pytest.mark.django_db
HALF, NUL = "half \ud800", "a\0b"
QUESTION = {"question": "Why?", HALF: 1, NUL: "x", "more": {HALF: "a \ud800 b"}}
PAIR = {"prompt": "Why?", "completion": "So.", HALF: "\ud800", NUL: 1}


def odd_file(row: dict) -> SimpleUploadedFile:
    return SimpleUploadedFile("rows.jsonl", (json.dumps(row) + "\n").encode())


def test_an_import_tells_them_among_the_columns_that_nothing_reads(project):
    client = program(project, "researcher").http
    sent = {"project": project.slug, "file": odd_file(QUESTION), "source": "odd"}
    answer = client.post("/api/v1/imports/", sent, format="multipart")
    assert answer.status_code == 201, answer.content
    assert "half \\ud800" in answer.json()["unused_columns"] and "a\\x00b" in answer.json()["unused_columns"]
    work_off_imports()
    done = client.get(f"/api/v1/imports/{answer.json()['id']}/").json()
    assert (done["state"], done["counts"]["prompts"]) == ("done", 1)


@pytest.mark.parametrize("shape", ["rows", "sft", "corpus", "labelled"])
def test_the_page_that_adds_data_shows_the_others(project, client, shape):
    sign_in(client, project, "researcher")
    for row in (QUESTION, PAIR, {HALF: "x"}):
        assert look_at(client, project, odd_file(row), **{"as": shape}).status_code == 200


@pytest.mark.parametrize("kind", ["sft", "corpus", "preferences"])
def test_an_uploaded_dataset_tells_them(project, kind):
    client = program(project, "researcher").http
    sent = {"project": project.slug, "file": odd_file(PAIR), "name": kind, "kind": kind}
    assert client.post("/api/v1/datasets/upload/", sent, format="multipart").status_code < 500


def test_argilla_looks_once_at_each_of_thousands_of_columns(monkeypatch):
    from annotate.data.formats.argilla import records_reader

    looks = []
    monkeypatch.setattr(records_reader.fields, "parsed", lambda value: looks.append(value))
    columns = {f"field {n}": n for n in range(1000)}
    row = {"prompt": "Why?", "response_1": "So.", **columns}
    column_uses(READERS["argilla"], [row])
    assert len(looks) <= 70 * 10 * len(row), "of 60 columns, each read twice"
