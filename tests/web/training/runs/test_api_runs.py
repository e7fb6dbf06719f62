"""Runs, evaluations and the leaderboard through the API."""

from __future__ import annotations

import pytest
from django.utils import timezone

from annotate.data.datasets.actions import freeze
from annotate.models import Dataset
from evaluation.models import Evaluation
from tests.support.api_client import Program, errors, program
from tests.support.factories import (
    make_comparison,
    make_completion,
    make_contestant,
    make_model,
    make_project,
    make_prompt,
    make_user,
)
from training.models import Metric, Run, Sample

pytestmark = pytest.mark.django_db


@pytest.fixture
def researcher(project):
    return program(project, "researcher")


@pytest.fixture
def prompts(project) -> Dataset:
    make_prompt(project)
    return freeze(project=project, kind="prompts", name="prompts", by=None)


@pytest.fixture
def order(project, prompts) -> dict:
    return {
        "kind": "sample",
        "project": project.slug,
        "name": "try",
        "parent": make_model().pk,
        "dataset": prompts.pk,
        "config": {"temperature": 0.5},
        "seed": 7,
    }


def make_run(project, **fields) -> Run:
    return Run.objects.create(**{"project": project, "kind": "sample", "name": "run", **fields})


def test_a_run_is_queued_listed_and_read(researcher, project, order):
    response = researcher.post("runs/", order)
    assert response.status_code == 201
    made = response.json()
    assert made["state"] == "queued" and made["config"]["temperature"] == 0.5 and made["seed"] == 7
    assert researcher.get(f"runs/{made['id']}/").json() == made
    assert researcher.get("runs/", project=project.slug, state="queued").json()["results"] == [made]


def test_the_same_key_queues_one_run(researcher, order):
    first, again = (researcher.post("runs/", order, key="r1") for _ in range(2))
    assert first.json() == again.json() and again.status_code == 201
    assert Run.objects.count() == 1


def test_a_run_whose_parent_is_retired_is_refused(researcher, order):
    model = make_model()
    model.retire(reason="it babbles")
    told = errors(researcher.post("runs/", {**order, "parent": model.pk}), 409)
    assert set(told) == {"parent"} and "it babbles" in told["parent"] and "choose" in told["parent"]
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("change", "field", "remedy"),
    [
        ({"config": {"temprature": 1}}, "config.temprature", "temperature"),
        ({"config": {"temperature": 99}}, "config.temperature", "between 0 and 5"),
        ({"config": {"temperature": "hot"}}, "config.temperature", "number"),
        ({"config": {"max_new_tokens": 1.5}}, "config.max_new_tokens", "whole number"),
        ({"config": [1]}, "config", "dictionary"),
        ({"config": {"preset": ["quick"]}}, "config.preset", "must be one of"),
        ({"kind": "dream"}, "kind", "sample"),
        ({"parent": None}, "parent", "Choose"),
        ({"parent": 999999}, "parent", "no parent 999999"),
        ({"dataset": None}, "dataset", "prompts"),
        ({"name": ""}, "name", "blank"),
        ({"seed": -1}, "seed", "0"),
        ({"reward_model": "x"}, "reward_model", "integer"),
        ({"conifg": {}}, "conifg", "config"),
    ],
)
def test_a_wrong_run_is_refused_by_field(researcher, order, change, field, remedy):
    told = errors(researcher.post("runs/", {**order, **change}))
    assert field in told and remedy in told[field]
    assert not Run.objects.exists()


def test_an_annotator_may_not_queue_cancel_or_resume(project, order):
    run = make_run(project)
    annotator = program(project)
    for path, body in (("runs/", order), (f"runs/{run.pk}/cancel/", {}), (f"runs/{run.pk}/resume/", {})):
        assert "researcher" in errors(annotator.post(path, body), 403)["project"]
    assert Run.objects.get().state == "queued"


def test_a_run_is_cancelled_and_resumed(researcher, order):
    pk = researcher.post("runs/", order).json()["id"]
    assert researcher.post(f"runs/{pk}/cancel/").json()["state"] == "cancelled"
    assert "state" in errors(researcher.post(f"runs/{pk}/cancel/"), 409)
    assert researcher.post(f"runs/{pk}/resume/").json()["state"] == "queued"


def test_the_remedy_of_a_failure_is_one_request(researcher, project, order):
    first = researcher.post("runs/", order).json()
    Run.objects.filter(pk=first["id"]).update(state="failed", remedy_changes={"temperature": 0.25})
    path = f"runs/{first['id']}/again/"
    again, twin = (researcher.post(path, key="k").json() for _ in range(2))
    assert again == twin and again["config"]["temperature"] == 0.25 and again["cloned_from"] == first["id"]
    assert errors(researcher.post(path), 409)["name"], "its name is promised to the one that is queued"
    assert "config.nonsense" in errors(researcher.post(path, {"changes": {"nonsense": 1}}))
    assert errors(program(project).post(path), 403)


def test_the_texts_in_a_report_are_for_reviewers(project):
    rule = {
        "title": "Gopher",
        "removed": {"documents": 1},
        "samples": [{"text": "secret"}],
        "changes": [{"before": "s"}],
    }
    report = {"read": {"documents": 2}, "rules": [rule], "samples": [{"tokens": ["sec", "ret"]}]}
    run = make_run(project, kind="corpus", state="succeeded", result={"report": report, "documents": 1})
    for role, sees in (("annotator", False), ("reviewer", True), ("researcher", True)):
        asker = program(project, role)
        for told in (asker.get(f"runs/{run.pk}/").json(), *asker.get("runs/").json()["results"]):
            assert ("secret" in str(told), "ret" in str(told["result"]["report"])) == (sees, sees), role
            assert told["result"]["report"]["rules"][0]["removed"] == {"documents": 1}


def test_metrics_and_samples_go_on_after_a_sequence_number(researcher, project):
    run = make_run(project)
    for n in (1, 2, 3):
        Metric.objects.create(run=run, sequence=n, step=n, values={"kl": n / 10}, time=timezone.now())
        Sample.objects.create(run=run, sequence=n, step=n, prompt=[], completion=f"text {n}", score=0.5)
    assert [row["values"] for row in researcher.get(f"runs/{run.pk}/metrics/", after=1).json()] == [
        {"kl": 0.2},
        {"kl": 0.3},
    ]
    assert [row["completion"] for row in researcher.get(f"runs/{run.pk}/samples/", after=2).json()] == ["text 3"]
    assert len(researcher.get(f"runs/{run.pk}/metrics/").json()) == 3
    assert "after" in errors(researcher.get(f"runs/{run.pk}/metrics/", after="x"))


def test_a_run_of_a_private_project_is_not_there_for_others():
    run = make_run(make_project(is_public=False))
    assert "run" in errors(program().get(f"runs/{run.pk}/"), 404)
    assert "run" in errors(program().get("runs/abc/metrics/"), 404)


def test_the_leaderboard_ranks_counted_votes_of_the_eval_split(project):
    prompt = make_prompt(project, side="eval")
    a, b = (make_completion(prompt, model=make_contestant(project).model) for _ in range(2))
    for _ in range(9):
        make_comparison(a, b, "model_a")
    make_comparison(a, b, "model_b")
    make_comparison(a, b, "model_b", status="held")
    board = Program().get("leaderboard/", project=project.slug).json()
    assert (board["judge"], board["votes"], board["left_out"]) == ("person", 10, {"held": 1})
    first, second = board["rows"]
    assert (first["model"], first["rank"], first["battles"]) == (a.model.name, 1, 10)
    assert first["lower"] < first["rating"] < first["upper"] and first["rating"] > second["rating"]


def test_simulated_votes_stand_on_a_leaderboard_of_their_own(project):
    prompt = make_prompt(project, side="eval")
    a, b = (make_completion(prompt, model=make_contestant(project).model) for _ in range(2))
    robot = make_user(is_simulated=True)
    make_comparison(a, b, author=robot)
    make_comparison(b, a)
    for judge, best in (("person", b), ("simulation", a)):
        board = Program().get("leaderboard/", project=project.slug, judge=judge).json()
        assert board["votes"] == 1 and board["rows"][0]["model"] == best.model.name


def test_a_leaderboard_needs_a_project_and_a_known_judge(project):
    assert "?project=" in errors(Program().get("leaderboard/"))["project"]
    assert errors(Program().get("leaderboard/", project="nowhere"), 404)
    assert "simulation" in errors(Program().get("leaderboard/", project=project.slug, judge="robot"))["judge"]
    assert Program().get("leaderboard/", project=project.slug).json()["rows"] == []


def test_evaluations_are_read_by_those_who_see_their_project(researcher, project):
    model = make_model()
    row = Evaluation.objects.create(
        project=project, model=model, metric="perplexity", value=12.5, n=100, signature="ppl v1"
    )
    listed = researcher.get("evaluations/", project=project.slug, metric="perplexity").json()["results"]
    assert [(e["id"], e["model_name"], e["value"]) for e in listed] == [(row.pk, model.name, 12.5)]
    assert researcher.get(f"evaluations/{row.pk}/").json() == listed[0]
    project.is_public = False
    project.save()
    assert "evaluation" in errors(program().get(f"evaluations/{row.pk}/"), 404)


def test_an_evaluation_of_a_retired_model_is_refused_by_model(researcher, project):
    model = make_model()
    model.retire(reason="old")
    body = {"project": project.slug, "model": model.pk, "name": "check"}
    told = errors(researcher.post("evaluations/", body), 409)
    assert set(told) == {"model"} and "retired" in told["model"]
    assert "model" in errors(researcher.post("evaluations/", {**body, "model": 999999}))
    assert not Run.objects.exists()


def test_an_evaluation_is_a_run_of_its_kind(researcher, project):
    body = {"project": project.slug, "model": make_model().pk, "name": "check"}
    run = researcher.post("evaluations/", body).json()
    assert (run["kind"], run["state"], run["parent"]) == ("evaluate", "queued", body["model"])
