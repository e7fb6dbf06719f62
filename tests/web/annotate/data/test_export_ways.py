"""The same export by the page, the API and manage.py, for those who may review."""

from __future__ import annotations

import json

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from annotate.data.rows.row_files import read_rows
from tests.support import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def project():
    project = factories.make_project()
    factories.make_comparison(*factories.make_pair(project))
    return project


def signed_in(project, role="reviewer"):
    client = Client()
    client.force_login(factories.make_user(project, role=role))
    return client


def body(response) -> bytes:
    return b"".join(response.streaming_content)


def test_a_reviewer_downloads_what_the_form_asks_for(project):
    client = signed_in(project)
    assert reverse("export", args=[project.slug]) in client.get(reverse("data", args=[project.slug])).content.decode()
    page = client.get(reverse("export", args=[project.slug])).content.decode()
    assert "LMArena conversations" in page and "Download" in page
    asked = {"format": "lmarena", "file": "", "side": "", "judge": "person", "status": "counted"}
    response = client.get(reverse("export", args=[project.slug]), asked)
    assert response["Content-Disposition"] == f'attachment; filename="{project.slug}-lmarena.jsonl"'
    assert json.loads(body(response))["winner"] == "model_a"


def test_an_annotator_neither_sees_nor_gets_it(project):
    client = signed_in(project, "annotator")
    address = reverse("export", args=[project.slug])
    assert address not in client.get(reverse("data", args=[project.slug])).content.decode()
    assert client.get(address).status_code == 403


def test_a_wrong_wish_is_told_on_a_page(project):
    response = signed_in(project).get(reverse("export", args=[project.slug]), {"format": "excel"})
    assert response.status_code == 400 and "hh-rlhf" in response.content.decode()


def api(project, role="reviewer"):
    client = APIClient()
    client.force_authenticate(factories.make_user(project, role=role))
    return client


def test_a_program_gets_the_same(project):
    response = api(project).get(f"/api/v1/projects/{project.slug}/export/", {"format": "trl-preference", "file": "csv"})
    assert response.status_code == 200 and response["Content-Type"].startswith("text/csv")
    assert body(response).decode().splitlines()[0] == "prompt,chosen,rejected"


def test_without_a_wish_it_is_our_own_rows(project):
    response = api(project).get(f"/api/v1/projects/{project.slug}/export/")
    assert json.loads(body(response))["type"] == "comparison"


@pytest.mark.parametrize(
    ("wish", "field"), [({"format": "excel"}, "format"), ({"status": "lost"}, "status"), ({"side": "left"}, "side")]
)
def test_a_program_is_told_what_would_be_right(project, wish, field):
    response = api(project).get(f"/api/v1/projects/{project.slug}/export/", wish)
    assert response.status_code == 400 and field in response.json()["errors"]


def test_a_program_without_the_role_is_refused(project):
    assert api(project, "annotator").get(f"/api/v1/projects/{project.slug}/export/").status_code == 403
    hidden = factories.make_project(is_public=False)
    assert api(project).get(f"/api/v1/projects/{hidden.slug}/export/").status_code == 404


def test_a_command_writes_the_file_that_its_name_says(project, tmp_path, capsys):
    reviewer = factories.make_user(project, role="reviewer")
    path = tmp_path / "pairs.parquet"
    call_command("export_feedback", project.slug, str(path), format="trl-preference", by=reviewer.username)
    with path.open("rb") as file:
        (row,) = (row.row for row in read_rows(file, path.name))
    assert row["chosen"][0]["role"] == "assistant" and f"{path}: " in capsys.readouterr().out
    with pytest.raises(CommandError, match="there already"):
        call_command("export_feedback", project.slug, str(path), by=reviewer.username)


def test_a_command_that_fails_leaves_no_file(project, tmp_path):
    reviewer = factories.make_user(project, role="reviewer")
    with pytest.raises(CommandError, match="has no data for"):
        call_command(
            "export_feedback", project.slug, str(tmp_path / "x.jsonl"), format="hh-rlhf-red-team", by=reviewer.username
        )
    assert not list(tmp_path.glob("x*"))
