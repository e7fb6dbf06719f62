"""Datasets through the API: freeze, preview, list, download."""

from __future__ import annotations

import json

import pytest

from annotate.models import Dataset
from tests.support.api_client import errors, program
from tests.support.factories import make_comparison, make_completion, make_pair, make_prompt, make_rating

pytestmark = pytest.mark.django_db


@pytest.fixture
def researcher(project):
    return program(project, "researcher")


def order(project, **more):
    return {"project": project.slug, "kind": "preferences", "name": "first", **more}


def test_a_dataset_is_frozen_listed_and_read(project, researcher):
    make_comparison(*make_pair(project))
    response = researcher.post("datasets/", order(project))
    assert response.status_code == 201
    made = response.json()
    assert made["counts"]["comparisons"] == 1 and len(made["content_hash"]) == 64 and made["runs"] == []
    assert researcher.get(f"datasets/{made['id']}/").json() == made
    assert researcher.get("datasets/", project=project.slug, kind="preferences").json()["results"] == [made]


def test_a_dataset_without_feedback_is_refused_and_says_what_to_do(project, researcher):
    told = errors(researcher.post("datasets/", order(project)))
    assert "Annotate answers first" in told["feedback"]
    assert not Dataset.objects.exists()


def test_crossing_the_splits_is_refused_by_side(project, researcher):
    crossing = make_comparison(*make_pair(project, side="eval"))
    assert "must not train one" in errors(researcher.post("datasets/", order(project, side="eval")))["side"]
    told = errors(researcher.post("datasets/", order(project, comparisons=[crossing.pk])))
    assert str(crossing.pk) in told["side"]
    assert not Dataset.objects.exists()


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"kind": "pairs"}, 400, "kind"),
        ({"judge": "robot"}, 400, "judge"),
        ({"side": "left"}, 400, "side"),
        ({"name": ""}, 400, "name"),
        ({"name": "x" * 121}, 400, "name"),
        ({"per_prompt": 100}, 400, "per_prompt"),
        ({"minimum": "high"}, 400, "minimum"),
        ({"comparisons": [10**30]}, 400, "comparisons.0"),
        ({"comparisons": [999999]}, 400, "comparisons"),
        ({"colour": "red"}, 400, "colour"),
        ({"project": "nowhere"}, 404, "project"),
    ],
)
def test_a_wrong_order_is_refused_by_field(project, researcher, change, status, field):
    make_comparison(*make_pair(project))
    assert field in errors(researcher.post("datasets/", order(project) | change), status)
    assert not Dataset.objects.exists()


def test_the_same_key_freezes_once(project, researcher):
    make_comparison(*make_pair(project))
    first, again = (researcher.post("datasets/", order(project), key="d1") for _ in range(2))
    assert first.json() == again.json() and again.status_code == 201
    assert "name" in errors(researcher.post("datasets/", order(project), key="d2"), 409)


def test_a_preview_counts_and_freezes_nothing(project, researcher):
    body = {"project": project.slug, "kind": "preferences"}
    assert "Annotate answers" in researcher.post("datasets/preview/", body).json()["counts"]["empty"]
    make_comparison(*make_pair(project))
    counts = researcher.post("datasets/preview/", body).json()["counts"]
    assert counts["comparisons"] == 1 and "empty" not in counts
    assert "project" in errors(program(project).post("datasets/preview/", body), 403)
    assert not Dataset.objects.exists()


def test_a_dataset_is_downloaded_in_the_formats_of_its_kind(project, researcher):
    a, b = make_pair(project)
    make_comparison(a, b, "model_b", strength=3)
    make_rating(make_completion(make_prompt(project)), stars=5)
    pk = researcher.post("datasets/", order(project)).json()["id"]
    for format_, expected in (("jsonl", 2), ("hh-rlhf", 1), ("trl-preference", 1), ("trl-unpaired", 1)):
        response = researcher.get(f"datasets/{pk}/export/", format=format_)
        assert response.status_code == 200 and response["Content-Type"] == "application/x-ndjson"
        assert f"{format_}.jsonl" in response["Content-Disposition"]
        rows = [json.loads(line) for line in response.getvalue().decode().splitlines()]
        assert len(rows) == expected
    told = errors(researcher.get(f"datasets/{pk}/export/", format="trl-prompt-completion"))
    assert "trl-preference" in told["format"]


def test_downloads_are_for_reviewers(project, researcher):
    make_comparison(*make_pair(project))
    pk = researcher.post("datasets/", order(project)).json()["id"]
    assert errors(program(project).get(f"datasets/{pk}/export/"), 403)
    assert errors(program().get("datasets/12345/export/"), 404)


@pytest.mark.parametrize("kind", ["corpus", "labelled", "task"])
def test_feedback_is_not_frozen_as_what_is_uploaded(project, researcher, kind):
    make_rating(make_completion(make_prompt(project)), stars=5)
    for address in ("datasets/", "datasets/preview/"):
        sent = order(project, kind=kind) if address == "datasets/" else {"project": project.slug, "kind": kind}
        assert "use one of preferences, sft, prompts" in errors(researcher.post(address, sent))["kind"]
    assert not Dataset.objects.exists()
