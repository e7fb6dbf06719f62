"""Evaluations through the API: queue one or several alike, filter the figures, page through the items."""

from __future__ import annotations

import pytest
from django.urls import reverse

from annotate.models import Project
from tests.support.api_client import errors, program
from tests.support.evaluation.evaluated import figure, item, make_evaluated
from tests.support.factories import make_contestant, make_model, make_project, sign_in
from tests.support.training.runs import make_task, make_weights
from training.models import Run

pytestmark = pytest.mark.django_db
ROWS = [item(n, right=n % 3 != 0, group="even" if n % 2 == 0 else "odd", seen=n == 0) for n in range(10)]


@pytest.fixture
def project():
    return make_project(name="Everyday questions")


@pytest.fixture
def base(project):
    return make_contestant(project, make_weights(name="tide-base")).model


@pytest.fixture
def child(project, base):
    return make_contestant(project, make_weights(name="tide-sft", parent=base)).model


@pytest.fixture
def researcher(project):
    return program(project, role="researcher")


def test_a_measure_is_queued_on_a_dataset(researcher, project, base):
    dataset = make_task(project)
    body = {
        "project": project.slug, "model": base.pk, "name": "endings", "other_dataset": dataset.pk,
        "config": {"measure": "choices", "limit": 50},
    }  # fmt: skip
    run = researcher.post("evaluations/", body).json()
    assert (run["kind"], run["parent"], run["other_dataset"]) == ("evaluate", base.pk, dataset.pk)
    assert run["config"]["measure"] == "choices"


def test_what_does_not_go_together_is_refused_by_field(researcher, project, base):
    body = {"project": project.slug, "model": base.pk, "name": "n", "config": {"measure": "classification"}}
    told = errors(researcher.post("evaluations/", body))
    assert "is a policy" in told["model"] and "upload one" in told["other_dataset"]
    told = errors(researcher.post("evaluations/", {**body, "config": {"measure": "beauty"}}))
    assert "must be one of" in told["config.measure"]


def test_several_models_are_measured_alike(researcher, project, base, child):
    body = {
        "project": project.slug, "models": [base.pk, child.pk], "name": "tales", "config": {"measure": "choices"},
    }  # fmt: skip
    first, again = (researcher.post("evaluations/alike/", body, key="k") for _ in range(2))
    assert first.status_code == 201 and first.json() == again.json()
    assert [run["parent"] for run in first.json()] == [base.pk, child.pk]
    assert Run.objects.count() == 2


def test_one_model_that_cannot_stops_them_all(researcher, project, base):
    reward = make_weights(kind="reward")
    body = {"project": project.slug, "models": [base.pk, reward.pk], "name": "n", "config": {"measure": "choices"}}
    assert "is a reward" in errors(researcher.post("evaluations/alike/", body))["models"]
    assert "models" in errors(researcher.post("evaluations/alike/", {**body, "models": []}))
    assert "models" in errors(researcher.post("evaluations/alike/", {**body, "models": [999999]}))
    assert not Run.objects.exists()


def test_only_researchers_start_them(project, base):
    body = {"project": project.slug, "models": [base.pk], "name": "n"}
    assert "researcher" in errors(program(project).post("evaluations/alike/", body), 403)["project"]


def test_figures_are_filtered_and_say_all_that_a_page_says(researcher, project, base, child):
    make_evaluated(project, base, metrics={"accuracy": figure(0.5)})
    run = make_evaluated(
        project, base, metrics={"accuracy": figure(0.7, clean=0.6)}, groups={"even": {"accuracy": figure(0.8, 5)}}
    )
    make_evaluated(project, child, task="tales", metrics={"perplexity": figure(20.0, higher=False)})
    rows = researcher.get("evaluations/", project=project.slug, task="assay", group="").json()["results"]
    assert [row["value"] for row in rows] == [0.7, 0.5]
    assert (rows[0]["task"], rows[0]["items_hash"], rows[0]["higher_is_better"]) == ("assay", "abc", True)
    assert rows[0]["clean"]["value"] == 0.6 and rows[0]["opponent_name"] is None
    standing = researcher.get("evaluations/", project=project.slug, standing="true", group="").json()["results"]
    assert {row["value"] for row in standing} == {0.7, 20.0}
    assert len(researcher.get("evaluations/", run=run.pk).json()["results"]) == 2
    assert len(researcher.get("evaluations/", model=child.pk, metric="perplexity").json()["results"]) == 1
    assert "project" in errors(researcher.get("evaluations/", standing="true"))


def test_items_come_in_pages(researcher, project, base):
    run = make_evaluated(project, base, items=ROWS)
    first = researcher.get(f"runs/{run.pk}/items/", limit=4).json()
    assert (first["count"], first["offset"], len(first["items"])) == (10, 0, 4)
    second = researcher.get(f"runs/{run.pk}/items/", limit=4, offset=8).json()
    assert [row["id"] for row in second["items"]] == ["item-8", "item-9"]
    assert first["items"][0]["values"] == {"accuracy": 0.0} and first["items"][0]["seen_in"] == ["train.jsonl"]
    assert researcher.get(f"runs/{run.pk}/items/", offset=50).json()["items"] == []


def test_items_are_chosen_and_ordered(researcher, project, base):
    run = make_evaluated(project, base, items=ROWS)

    def ids(**asked):
        return [row["id"] for row in researcher.get(f"runs/{run.pk}/items/", **asked).json()["items"]]

    assert ids(right="no") == ["item-0", "item-3", "item-6", "item-9"]
    assert ids(group="odd", right="no") == ["item-3", "item-9"]
    assert ids(seen="yes") == ["item-0"]
    assert ids(order="best", limit=1) == ["item-1"]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"offset": "-1"}, "offset"), ({"limit": "5000"}, "limit"), ({"right": "maybe"}, "right"),
        ({"group": "third"}, "group"), ({"order": "random"}, "order"), ({"seen": "x"}, "seen"),
    ],
)  # fmt: skip
def test_a_wrong_question_is_told_by_field(researcher, project, base, asked, field):
    run = make_evaluated(project, base, items=ROWS)
    assert field in errors(researcher.get(f"runs/{run.pk}/items/", **asked))


def test_a_run_without_items_says_so(researcher, project, base):
    run = make_evaluated(project, base)
    assert "no items" in errors(researcher.get(f"runs/{run.pk}/items/"), 404)["run"]


def test_texts_of_items_are_for_those_who_may_review(researcher, project, base):
    run = make_evaluated(project, base, items=ROWS, other_dataset=make_task(project))
    assert researcher.get(f"runs/{run.pk}/items/").json()["items"][0]["shown"]["context"] == "Question 0?"
    reader = program(project)
    assert reader.get(f"runs/{run.pk}/items/").json()["items"][0]["shown"] is None
    Project.objects.filter(pk=project.pk).update(is_public=False)
    assert "run" in errors(program().get(f"runs/{run.pk}/items/"), 404)


def test_figures_of_blind_answers_are_for_those_who_may_review(researcher, project, base, client):
    run = make_evaluated(project, base, items=ROWS, config={"measure": "fluency"})
    assert researcher.get(f"runs/{run.pk}/items/").status_code == 200
    assert "blind" in errors(program(project).get(f"runs/{run.pk}/items/"), 403)["run"]
    sign_in(client, project, "annotator")
    addresses = [
        reverse("run-items", args=[run.pk]),
        *(reverse(f"run-items-{name}", args=[run.pk]) for name in ("csv", "jsonl")),
    ]
    addresses += [f"{reverse('compare-items', args=[project.slug])}?first={run.pk}&second={run.pk}"]
    assert [client.get(address).status_code for address in addresses] == [403] * 4
    sign_in(client, project, "reviewer")
    assert [client.get(address).status_code for address in addresses] == [200] * 4


def test_only_those_who_may_read_blind_items_are_led_to_them(project, base, child, client):
    alike = {"items": ROWS, "config": {"measure": "fluency"}}
    first, second = (make_evaluated(project, model, **alike) for model in (base, child))
    compare = f"{reverse('compare', args=[project.slug])}?runs={first.pk}&runs={second.pk}"
    pages = [reverse("run", args=[first.pk]), reverse("evaluations", args=[project.slug]), compare]
    for role, leads in (("annotator", False), ("reviewer", True)):
        sign_in(client, project, role)
        shown = [client.get(address).content.decode() for address in pages]
        assert ["/items/" in page for page in shown] == [leads] * 3, role


def test_an_opponent_is_named(researcher, project, base, child):
    opponent = make_contestant(project, make_model(name="kestrel")).model
    make_evaluated(
        project, child, metrics={"win rate": figure(0.6)}, config={"measure": "win_rate", "opponent": "kestrel"}
    )
    [row] = researcher.get("evaluations/", metric="win rate").json()["results"]
    assert (row["opponent"], row["opponent_name"]) == (opponent.pk, "kestrel")
