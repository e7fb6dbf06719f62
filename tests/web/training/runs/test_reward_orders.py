"""Runs whose reward has parts: what an order may name, what is kept of it, and where the models of an ensemble show."""

from __future__ import annotations

import pytest
from django.urls import reverse

from annotate.core.errors import Refused
from annotate.data.datasets.actions import freeze
from annotate.data.prompts.actions import NewPrompt, add_prompts
from annotate.models import Prompt
from evaluation.registry.ancestry import ancestry
from evaluation.registry.lineage_graph import of_model
from tests.support.api_client import Program
from tests.support.factories import make_model
from tests.support.training.runs import make_dataset, make_weights
from training.models import Run
from training.runs.ordering import actions, order_files
from training.runs.queue import preparation

pytestmark = pytest.mark.django_db
ENSEMBLE = "reward_model models='first, second' spread_penalty=0.5\nlength maximum=9 weight=2"


@pytest.fixture
def models(db):
    return [make_weights(name=name, kind="reward", content_hash=f"{name:f<64}") for name in ("first", "second")]


def queue(project, researcher, rewards, **given):
    config = {"rewards": rewards, "trust_unproven_reward": True}
    return actions.queue_run(
        **{"kind": "ppo", "project": project, "name": "rewarded", "by": researcher, "parent": make_weights(),
           "dataset": make_dataset(project), "config": config, **given}
    )  # fmt: skip


def test_all_models_of_an_ensemble_are_kept_with_the_run_and_reach_its_recipe(project, researcher, models):
    run = queue(project, researcher, ENSEMBLE)
    assert Run.objects.get(pk=run.pk).reward_models == models
    spec = preparation.prepare(run).spec()
    assert spec.reward_model == str(models[0].path.resolve())
    assert spec.reward_models == {
        model.name: {"folder": str(model.path.resolve()), "hash": model.content_hash} for model in models
    }
    assert {model.path for model in models} <= set(preparation.input_folders(run))


def test_the_order_as_a_file_names_them_with_hashes_and_is_refused_where_one_differs(project, researcher, models):
    order = order_files.read(order_files.written(queue(project, researcher, ENSEMBLE)))
    assert order["other_reward_models"] == [{"name": "second", "hash": models[1].content_hash}]
    assert order_files.resolve(order, project).arguments["config"]["rewards"].startswith("reward_model")
    order["other_reward_models"][0]["hash"] = "0" * 64
    with pytest.raises(Refused) as refused:
        order_files.resolve(order, project)
    assert "other_reward_models" in refused.value.errors


@pytest.mark.parametrize(
    ("rewards", "own", "field"),
    [
        ("length maximum=9\nreward_model models=nobody", None, "config.rewards[1].models"),
        ("length maximum=9\nreward_model models=policy", None, "config.rewards[1].models"),
        ("length maximum=9\nregex pattern='('", None, "config.rewards[1].pattern"),
        ("reward_model", None, "reward_model"),
        ("length maximum=9", 0, "reward_model"),
        ("reward_model models=second", 0, "reward_model"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(project, researcher, models, rewards, own, field):
    make_weights(name="policy")
    with pytest.raises(Refused) as refused:
        queue(project, researcher, rewards, reward_model=None if own is None else models[own])
    assert list(refused.value.errors) == [field]


def test_a_model_that_is_retired_or_did_not_beat_chance_is_refused(project, researcher, models):
    (models[1].path / "reward.json").write_text('{"held_out": {"beats_chance": false}}')
    with pytest.raises(Refused) as refused:
        queue(project, researcher, ENSEMBLE, config={"rewards": ENSEMBLE})
    assert list(refused.value.errors) == ["config.rewards[0].models"]
    models[1].retired_at = models[1].created_at
    models[1].save()
    with pytest.raises(Refused) as refused:
        queue(project, researcher, ENSEMBLE)
    assert refused.value.status == 409


def test_verifiers_need_no_reward_model(project, researcher):
    for kind in ("ppo", "grpo", "rloo", "best_of", "rejection"):
        rewards = "length maximum=9"
        run = queue(project, researcher, rewards, kind=kind, name=f"verified {kind}", config={"rewards": rewards})
        assert run.reward_models == [] and run.config["rewards"] == rewards


def test_right_answers_go_with_frozen_prompts_to_the_run(project, researcher):
    add_prompts(project=project, rows=[NewPrompt([{"role": "user", "content": "1 + 1?"}], source="quiz", answer=" 2 ")])
    add_prompts(project=project, rows=[NewPrompt([{"role": "user", "content": "Why?"}], source="quiz")])
    Prompt.objects.filter(project=project).update(side="train")
    half = freeze(project=project, kind="prompts", name="half", by=researcher, sources=["quiz"])
    with pytest.raises(Refused) as refused:
        queue(project, researcher, "length maximum=9\nnumber", dataset=half)
    assert list(refused.value.errors) == ["config.rewards[1]"] and "1 of the 2 prompts" in str(refused.value)
    add_prompts(project=project, rows=[NewPrompt([{"role": "user", "content": "Why?"}], answer="7")])
    whole = freeze(project=project, kind="prompts", name="whole", by=researcher, sources=["quiz"])
    assert whole.counts["right_answers"] == 2
    run = queue(project, researcher, "number", dataset=whole)
    assert sorted(row["answer"] for row in preparation.prepare(run).rows("prompts")) == ["2", "7"]


def test_each_model_of_an_ensemble_is_an_ancestor_of_what_the_run_made(project, researcher, models, client):
    run = queue(project, researcher, ENSEMBLE)
    child = make_model(name="child", parent=run.parent)
    Run.objects.filter(pk=run.pk).update(output_model=child, state="succeeded")
    line = ancestry(child, type(project).objects.all())
    assert {entry.model.name for entry in line} >= {"first", "second", "child"}
    client.force_login(researcher)
    arrows = [arrow for arrow in of_model(models[1], researcher).arrows if arrow.is_reward]
    assert arrows, "what it rewarded is among what came of it"
    for name, pk in (("lineage", child.pk), ("model", child.pk), ("run", run.pk), ("lineage", models[1].pk)):
        page = client.get(reverse(name, args=[pk])).content.decode()
        assert "second" in page, name


def test_the_api_takes_objects_and_gives_lines(project, researcher, models):
    program = Program(researcher)
    answer = program.post(
        "runs/",
        {"kind": "grpo", "project": project.slug, "name": "by api", "parent": make_weights().pk,
         "dataset": make_dataset(project).pk,
         "config": {"rewards": [{"kind": "reward_model", "models": ["first", "second"]},
                                {"kind": "length", "maximum": 9, "weight": 2}], "trust_unproven_reward": True}},
    )  # fmt: skip
    assert answer.status_code == 201, answer.content
    run = answer.json()
    assert run["config"]["rewards"] == "reward_model models='first, second'\nlength weight=2 maximum=9"
    assert (run["reward_model"], run["other_reward_models"]) == (models[0].pk, [models[1].pk])


def test_the_form_says_which_part_is_wrong_beside_the_field(project, researcher, client):
    client.force_login(researcher)
    page = client.post(
        reverse("new-run", args=[project.slug, "grpo"]),
        {"sent": "grpo", "name": "x", "seed": 0, "config.rewards": "number\nregex pattern='('"},
    ).content.decode()
    assert "Rewards[1].pattern: is no regular expression" in page


def test_a_judge_is_a_model_with_an_endpoint_and_its_key_goes_apart(project, researcher):
    judge = make_model(name="theirs", folder="", endpoint="https://judge.example/v1", served_name="large")
    run = queue(project, researcher, "judge judge=theirs rubric='Is it true?'")
    assert preparation.prepare(run).spec().endpoints["judge"]["model"] == "large"
    with pytest.raises(Refused) as refused:
        queue(project, researcher, "judge judge=theirs max_cost=1\njudge judge=nobody", name="other")
    assert list(refused.value.errors) == ["config.rewards[0].max_cost", "config.rewards[1].judge"]
    dataset = make_dataset(project)
    dataset.prompts.update(source="arena")
    with pytest.raises(Refused, match="no judge gets"):
        queue(project, researcher, f"judge judge={judge.name}", name="other", dataset=dataset)
