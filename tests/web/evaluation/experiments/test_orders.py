"""Orders of experiments: what is queued, what is refused by its field, by page and by API."""

from __future__ import annotations

import pytest
from django.urls import reverse

from annotate.core.errors import Refused
from annotate.models import Rating
from evaluation.experiments import actions, arm_methods
from evaluation.experiments.experiment_words import options_in_words
from evaluation.models import Experiment
from tests.support.evaluation.experiments import end_all
from tests.support.factories import (
    sign_in,
)

pytestmark = pytest.mark.django_db


def test_one_order_queues_every_arm_with_every_seed_on_the_same_annotations(project, order):
    experiment = actions.order(**order)
    runs = project.runs.exclude(kind="sample")
    assert sorted((run.kind, run.seed) for run in runs) == sorted(
        [("sft", 0), ("sft", 1), *([("dpo", 0), ("dpo", 1)] * 2), ("best_of", 0), ("best_of", 1)]
    )
    assert {run.dataset for run in runs.filter(kind="dpo")} == {order["dataset"]}
    assert {run.config["beta"] for run in runs.filter(kind="dpo")} == {0.1, 0.5}
    examples = runs.filter(kind="sft").first().dataset
    assert examples.counts["examples"] == 12 and set(examples.comparisons.all()) <= set(
        order["dataset"].comparisons.all()
    )
    assert not any(run.enters_arena for run in project.runs.all())
    assert experiment.plan["stop"] == {"votes_per_pair": 4, "pairs": 10, "votes": 40}
    assert experiment.plan_hash == actions.hash_of(experiment.plan)
    with pytest.raises(Refused, match="another name"):
        actions.order(**order)


def test_best_of_n_draws_as_many_answers_as_others_see_in_training(project, order, researcher, client):
    arms = [{"method": "ppo", "config": {"batch_size": 8}}, {"method": "best_of"}]
    arms += [{"method": "best_of", "config": {"candidates": 4}}]
    experiment = actions.order(
        **order | {"arms": arms, "budget": {"unit": "episodes", "amount": 48}, "completions_per_prompt": 2}
    )
    [steps] = {run.config["steps"] for run in project.runs.filter(kind="ppo")}
    assert steps * 8 == 48
    planned = {arm["name"]: arm["config"].get("candidates") for arm in experiment.plan["arms"]}
    assert planned["Best-of-N"] == 8, "48 answers for two to each of three eval prompts"
    assert planned["Best-of-4"] == 4, "what an arm sets is kept"
    assert {run.config["candidates"] for run in project.runs.filter(kind="best_of")} == {4, 8}
    [added] = actions.add_arm(
        experiment=experiment,
        by=researcher,
        arm={"method": "best_of", "name": "again", "config": {"max_new_tokens": 9}},
    )
    assert added.config["config"]["candidates"] == 8
    page = client.get(reverse("experiment", args=[project.slug, experiment.pk])).content.decode()
    assert "candidates 8" in page
    seconds = {"name": "by time", "arms": [{"method": "best_of"}], "budget": {"unit": "seconds", "amount": 60}}
    assert actions.order(**order | seconds).plan["arms"][1]["name"] == "Best-of-4", "its time follows from no training"


def test_an_option_that_stands_in_an_arms_name_is_not_said_again(project, order):
    arms = [{"method": "dpo", "sweep": {"beta": [0.1, 0.5]}}, {"method": "sft", "config": {"epochs": 2}}]
    told = {arm.name: options_in_words(arm) for arm in actions.order(**order | {"arms": arms}).arms.all()}
    assert told == {"base": "", "DPO beta=0.1": "", "DPO beta=0.5": "", "SFT": "epochs 2"}


def test_prompts_are_those_of_the_annotations(project, order):
    experiment = actions.order(**order | {"arms": [{"method": "ppo", "config": {"batch_size": 8}}],
                                          "budget": {"unit": "episodes", "amount": 64}})  # fmt: skip
    run = project.runs.filter(kind="ppo").first()
    assert run.dataset == experiment.prompts and run.dataset.prompts.count() == 12
    assert (run.config["steps"], run.config["at_bound"]) == (8, "finish")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"arms": [{"method": "magic"}]}, "arms.0.method"),
        ({"arms": [{"method": "dpo", "config": {"beta": -1}}]}, "arms.0.config.beta"),
        ({"arms": [{"method": "dpo"}, {"method": "dpo"}]}, "arms"),
        ({"arms": [{"method": "ppo", "config": {"rewards": "length maximum=9"}}]}, "arms.PPO.rewards"),
        ({"arms": [{"method": "dpo", "sweep": {"beta": [0.1] * 5000, "epochs": [1.0] * 5000}}]}, "arms.0.sweep"),
        ({"arms": [{"method": "dpo", "name": "a\x00b"}]}, "arms"),
        ({"name": "a\x00b"}, "name"),
        ({"completions_per_prompt": "two"}, "completions_per_prompt"),
        ({"seeds": 1}, "seeds"),
        ({"baseline": "nobody"}, "baseline"),
        ({"votes_per_pair": None}, "votes_per_pair"),
        ({"until": "2020-01-01T00:00:00Z", "votes_per_pair": None}, "until"),
        ({"alpha": 0.9}, "alpha"),
        ({"budget": {"unit": "euros", "amount": 1}}, "budget.unit"),
        ({"budget": {"unit": "seconds", "amount": 60}}, "budget.unit"),
    ],
)
def test_a_wrong_order_names_its_field_and_nothing_is_queued(project, order, changes, field):
    with pytest.raises(Refused) as refused:
        actions.order(**order | changes)
    assert field in refused.value.errors
    assert not project.runs.exists() and not Experiment.objects.exists()


def test_an_arm_that_the_annotations_do_not_allow_is_refused(project, order):
    order["dataset"].counts["winners"] = {"model_a": 3}
    order["dataset"].save()
    with pytest.raises(Refused, match="DPO needs 8 comparisons"):
        actions.order(**order)


def test_programs_order_and_pages_order(project, order, client):
    sign_in(client, project, "researcher")
    fields = {"parent": order["parent"].pk, "dataset": order["dataset"].pk, "seeds": 2, "votes_per_pair": 5}
    url = f"/api/v1/projects/{project.slug}/experiments/"
    body = {**fields, "name": "by API", "arms": [{"method": "sft"}]}
    made = client.post(url, body, content_type="application/json")
    assert made.status_code == 201 and made.json()["verdict"] is None
    assert [one["name"] for one in client.get(url).json()] == ["by API"]
    posted = {**fields, "name": "by form", "method": ["sft", "dpo"], "judge": "person", "family": "pairs",
              "alpha": "0.05", "completions_per_prompt": "1"}  # fmt: skip
    response = client.post(reverse("new-experiment", args=[project.slug]), posted)
    assert response.status_code == 302, response.content.decode()
    wrong = client.post(reverse("new-experiment", args=[project.slug]), posted | {"name": "another", "seeds": "many"})
    assert wrong.status_code == 400 and "Seeds" in wrong.context["errors"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ({}, {})),
        ("epochs=2; beta = 0.05, 0.1", ({"epochs": 2}, {"beta": [0.05, 0.1]})),
        ("preset=short\nis_on=true;", ({"preset": "short", "is_on": True}, {})),
        ("loss=NaN, [1", ({}, {"loss": [pytest.approx(float("nan"), nan_ok=True), "[1"]})),
    ],
)
def test_options_are_written_as_people_write_them(text, expected):
    assert arm_methods.options_in_text(text) == expected


@pytest.mark.parametrize("text", ["beta", "beta=", "beta 0.1", "=3", "a b=1"])
def test_what_are_no_options_says_how_to_write_them(text):
    with pytest.raises(ValueError, match=r"beta=0\.05, 0\.1"):
        arm_methods.options_in_text(text)


def test_the_form_orders_sweeps_a_moment_a_baseline_and_a_reward_model(project, order, client):
    sign_in(client, project, "researcher")
    url = reverse("new-experiment", args=[project.slug])
    posted = {
        "name": "swept", "parent": order["parent"].pk, "dataset": order["dataset"].pk, "seeds": 2, "judge": "person",
        "method": ["sft", "dpo", "best_of"], "options.dpo": "epochs=2; beta=0.1, 0.5",
        "family": "baseline", "alpha": "0.05",
        "baseline": "SFT", "reward_model": order["reward_model"].pk, "stop": "moment", "until": "2126-01-31T12:00",
        "votes_per_pair": "40", "completions_per_prompt": "1",
    }  # fmt: skip
    for field, value, error in (
        ("options.dpo", "beta", "Options of DPO"),
        ("options.dpo", "beta=-1", "DPO: beta"),
        ("until", "2126-02-31T12:00", "Moment, in UTC"),
        ("until", "", "Moment, in UTC"),
        ("votes_per_pair", "", "Votes for each pair of arms"),
        ("reward_model", "0", "Reward model"),
    ):
        stop = {"stop": "votes"} if field == "votes_per_pair" else {}
        refused = client.post(url, posted | stop | {field: value})
        assert refused.status_code == 400 and error in refused.context["errors"], refused.context["errors"]
        assert refused.context["values"]["baseline"] == "SFT", "what was typed is kept"
        text = refused.content.decode()
        assert f"<b>{error}</b>: " in text and "time zone" not in text
        if field in ("until", "votes_per_pair", "reward_model"):
            assert f"<label>{error} <" in text, "it is the label of the field"
    assert client.post(url, posted).status_code == 302
    experiment = Experiment.objects.get()
    names = [arm["name"] for arm in experiment.plan["arms"]]
    assert names == [
        "base",
        "SFT",
        "DPO beta=0.1",
        "DPO beta=0.5",
        "Best-of-4",
    ]
    assert experiment.plan["stop"] == {"until": "2126-01-31T12:00:00+00:00"}
    assert experiment.plan["baseline"] == "SFT" and experiment.reward_model == order["reward_model"]
    assert {run.config["epochs"] for run in project.runs.filter(kind="dpo")} == {2.0}


def test_what_was_withdrawn_since_the_dataset_was_frozen_is_no_example(order):
    withdrawn = order["dataset"].ratings.earliest("pk")
    Rating.objects.filter(pk=withdrawn.pk).update(status="withdrawn")
    experiment = actions.order(**order)
    assert experiment.examples is not None and withdrawn not in experiment.examples.ratings.all()


def test_the_form_leads_to_the_options_of_each_method_and_says_what_an_episode_is(client, project, order, researcher):
    client.force_login(researcher)
    page = client.get(reverse("new-experiment", args=[project.slug])).content.decode()
    for kind in ("best_of", "sft", "dpo", "kto", "grpo", "rloo", "ppo"):
        assert f'href="{reverse("new-run", args=[project.slug, kind])}"' in page
    assert "An episode is one answer" in page


@pytest.mark.parametrize("judge", ["simulation", "person"])
def test_who_waits_for_simulated_votes_is_told_how_to_start_them(client, project, order, researcher, judge):
    experiment = actions.order(**order | {"arms": [{"method": "sft"}], "judge": judge})
    end_all(project)
    client.force_login(researcher)
    page = client.get(reverse("experiment", args=[project.slug, experiment.pk])).content.decode()
    command = f"manage.py simulate_annotators --project {project.slug} --battles 4"
    assert (command in page) == (judge == "simulation")
