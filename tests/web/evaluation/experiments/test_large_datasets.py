"""Experiments on large datasets: the order answers at once, and the arms train once what they need is frozen."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.data.datasets import freezing
from annotate.labelling.actions import change_status
from annotate.models import Dataset, DatasetFreeze, Demonstration, LanguageModel
from evaluation.experiments import actions, experiment_progress
from evaluation.models import Experiment, ExperimentArm
from tests.support.api_client import Program
from tests.support.factories import make_prompt, sign_in

pytestmark = pytest.mark.django_db
ARMS = [{"method": "sft"}, {"method": "ppo", "config": {"batch_size": 8}}, {"method": "best_of"}]


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch):
    monkeypatch.setattr(freezing, "SMALL", 2)


@pytest.fixture
def order(order):
    return order | {"arms": ARMS, "budget": {"unit": "episodes", "amount": 64}}


def freeze_all() -> None:
    while freezing.freezer().do_now():
        pass
    experiment_progress.periodic_task()


def test_arms_train_when_all_is_frozen_and_the_plan_is_that_of_an_order_that_froze_at_once(
    project, order, client, monkeypatch
):
    experiment = actions.order(**order)
    assert experiment.state == "freezing" and not experiment.plan_hash and not project.runs.exists()
    sign_in(client, project, "researcher")
    address = reverse("experiment", args=[project.slug, experiment.pk])
    page = client.get(address, headers={"HX-Request": "true"})
    assert "frozen in the background" in page.content.decode() and "HX-Refresh" not in page.headers
    shown = client.get(f"/api/v1/projects/{project.slug}/experiments/{experiment.pk}/").json()
    assert (shown["state"], len(shown["freezes"])) == ("freezing", 3)
    make_prompt(project, "It came after the order.", side="eval")
    experiment_progress.periodic_task()
    with pytest.raises(Refused, match="plan is registered"):
        actions.add_arm(experiment=experiment, by=order["by"], arm={"method": "dpo"})
    freeze_all()
    experiment.refresh_from_db()
    assert experiment.state == "training" and experiment.plan_hash == actions.hash_of(experiment.plan)
    assert client.get(address, headers={"HX-Request": "true"}).headers["HX-Refresh"] == "true"
    assert DatasetFreeze.objects.count() == 3 == Dataset.objects.exclude(pk=order["dataset"].pk).count()
    trained = project.runs.exclude(kind="sample").values_list("kind", flat=True)
    assert sorted(trained) == [*["best_of"] * 2, *["ppo"] * 2, *["sft"] * 2]
    monkeypatch.setattr(freezing, "SMALL", 5000)
    at_once = actions.order(**order | {"name": "at once"})
    assert {**at_once.plan, "name": "methods", "questions": None} == {**experiment.plan, "questions": None}
    assert (at_once.examples, at_once.prompts) == (experiment.examples, experiment.prompts)


def test_cancelling_cancels_its_freezes_but_those_that_another_experiment_waits_for(project, order, researcher):
    first = actions.order(**order)
    second = actions.order(**order | {"name": "second"})
    assert DatasetFreeze.objects.count() == 4, "one for each, and eval prompts of their own"
    actions.cancel(experiment=first, by=researcher)
    assert DatasetFreeze.objects.filter(state="cancelled").count() == 1
    actions.cancel(experiment=second, by=researcher)
    assert not DatasetFreeze.objects.filter(state__in=DatasetFreeze.UNDER_WAY).exists()
    freeze_all()
    assert not project.runs.exists() and not ExperimentArm.objects.exists()


def test_a_freeze_that_was_cancelled_fails_the_experiment_in_words_and_a_retry_goes_on(
    project, order, researcher, client
):
    experiment = actions.order(**order)
    freezing.cancel_freeze(DatasetFreeze.objects.get(kind="sft"), by=researcher)
    experiment_progress.periodic_task()
    sign_in(client, project, "researcher")
    page = client.get(reverse("experiment", args=[project.slug, experiment.pk])).content.decode()
    assert "was cancelled" in page and "Resume what failed" in page
    actions.retry(experiment=experiment, by=researcher)
    freeze_all()
    assert Experiment.objects.get().state == "training" and project.runs.filter(kind="sft").count() == 2


@pytest.mark.parametrize("field", ["examples", "questions"])
def test_no_dataset_takes_the_place_of_one_whose_freeze_somebody_cancelled(
    project, order, researcher, monkeypatch, field
):
    experiment = actions.order(**order)
    freeze = DatasetFreeze.objects.get(pk=experiment.plan[field]["order"])
    program = Program(researcher)
    assert program.post(f"dataset-freezes/{freeze.pk}/cancel/").status_code == 200
    body = {"project": project.slug, "name": freeze.name, "kind": freeze.kind, "side": freeze.side}
    with monkeypatch.context() as few:
        few.setattr(freezing, "SMALL", 5000)
        prompt = make_prompt(project, source="mine", side=freeze.side)
        if field == "examples":
            by_hand = Demonstration.objects.create(
                project=project, prompt=prompt, author=researcher, judge="person", text="By hand."
            )
            body["demonstrations"] = [by_hand.pk]
        made = program.post("datasets/", body | ({} if field == "examples" else {"sources": ["mine"]}))
    assert made.status_code == 201, made.json()
    experiment_progress.periodic_task()
    actions.retry(experiment=experiment, by=researcher)
    freeze_all()
    experiment.refresh_from_db()
    chosen = getattr(experiment, field)
    assert experiment.state == "training" and chosen.pk != made.json()["id"]
    assert experiment.plan[field]["id"] == chosen.pk


def test_feedback_that_counts_again_while_it_is_frozen_makes_no_second_order(project, order, researcher):
    held = project.comparisons.first()
    change_status([held], "held", "test", None)
    experiment = actions.order(**order)
    change_status([held], "counted", "test", None)
    with CaptureQueriesContext(connection) as seen:
        experiment_progress.periodic_task()
    assert not any('"annotate_comparison"' in one["sql"] for one in seen), "it asks for its orders alone"
    assert DatasetFreeze.objects.count() == 3
    actions.cancel(experiment=experiment, by=researcher)
    assert not DatasetFreeze.objects.filter(state__in=DatasetFreeze.UNDER_WAY).exists()


def test_an_experiment_that_an_earlier_version_began_to_freeze_goes_on_with_its_orders(project, order, client):
    experiment = actions.order(**order)
    for row in filter(None, map(experiment.plan.get, ("examples", "prompts", "questions"))):
        del row["order"]
    experiment.save()
    shown = Program(order["by"]).get(f"projects/{project.slug}/experiments/{experiment.pk}/").json()
    assert len(shown["freezes"]) == 3
    freeze_all()
    experiment.refresh_from_db()
    assert experiment.state == "training" and DatasetFreeze.objects.count() == 3


def test_arms_that_are_refused_leave_one_dataset(project, order, researcher, monkeypatch):
    monkeypatch.setattr(freezing, "SMALL", 5000)
    experiment = actions.order(**order | {"arms": [{"method": "dpo"}], "budget": None})
    LanguageModel.objects.filter(pk=order["reward_model"].pk).update(retired_at=timezone.now())
    before = project.datasets.count()
    for _ in range(2):
        with pytest.raises(Refused, match="is retired"):
            actions.add_arm(experiment=experiment, by=researcher, arm={"method": "ppo"})
    assert project.datasets.count() == before + 1


def test_an_arm_that_needs_a_large_dataset_is_added_when_it_is_there(project, order, researcher):
    experiment = actions.order(**order | {"arms": [{"method": "dpo"}, {"method": "best_of"}], "budget": None})
    freeze_all()
    experiment.refresh_from_db()
    arm = {"method": "sft"}
    with pytest.raises(Refused, match="Add the arm when it is there"):
        actions.add_arm(experiment=experiment, by=researcher, arm=arm)
    freeze_all()
    experiment.refresh_from_db()
    assert actions.add_arm(experiment=experiment, by=researcher, arm=arm)[0].name == "SFT"
