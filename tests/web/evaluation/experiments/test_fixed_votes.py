"""Whoever has a favourite among the arms cannot move the verdict by what is done after the plan, or it is told."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.labelling.actions import change_status
from annotate.models import Completion, Demonstration, LanguageModel
from evaluation.experiments import actions, experiment_progress
from evaluation.models import ArmModel, Experiment
from tests.support.api_client import Program
from tests.support.evaluation.experiments import end_all, models_of, vote
from tests.support.factories import make_comparison, make_completion, make_prompt, make_user
from tests.support.training.runs import make_weights
from training.models import Run
from training.runs.ordering.actions import queue_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def experiment(project, order) -> Experiment:
    """SFT and the base, of which all models are in the arena."""
    row = actions.order(**order | {"arms": [{"method": "sft"}], "votes_per_pair": 4})
    end_all(project)
    row.refresh_from_db()
    assert row.state == "voting"
    return row


def seen(experiment: Experiment, by: Any) -> dict[str, Any]:
    response = Program(by).get(f"projects/{experiment.project.slug}/experiments/{experiment.pk}/")
    assert response.status_code == 200
    body: dict[str, Any] = response.json()
    return body


def compare(experiment: Experiment, winner: Completion, other: Completion) -> None:
    make_comparison(winner, other, "model_a", make_user(experiment.project), source="arena")


def test_an_answer_that_somebody_brings_in_a_models_name_moves_no_verdict(experiment, researcher):
    sft, base = models_of(experiment, "SFT")[0], experiment.parent
    prompt = experiment.questions.prompts.first()
    drawn = {model: Completion.objects.get(prompt=prompt, model=model) for model in (sft, base)}
    body = {"prompt": prompt.pk, "model": sft.pk, "text": "By hand, and far better.", "source": "run 1"}
    response = Program(researcher).post("completions/", body)
    assert response.status_code == 201
    compare(experiment, Completion.objects.get(pk=response.json()["id"]), drawn[base])
    assert seen(experiment, researcher)["votes"] == 0
    compare(experiment, drawn[sft], drawn[base])
    assert seen(experiment, researcher)["votes"] == 1


@pytest.mark.parametrize("is_older", [False, True])
def test_answers_of_another_run_count_where_it_asks_what_the_plan_asks_as_the_plan_says(
    experiment, researcher, is_older
):
    sft, base = models_of(experiment, "SFT")[0], experiment.parent
    prompt = experiment.questions.prompts.first()
    settings = experiment.plan["answers"]
    if is_older:  # its plan does not say how models answer
        plan = {name: value for name, value in experiment.plan.items() if name != "answers"}
        Experiment.objects.update(plan=plan)
    for counts, config in ((0, settings | {"system_prompt": "Answer as an expert."}), (1, settings)):
        run = queue_run(
            project=experiment.project, by=researcher, kind="sample", name=f"again {counts}", parent=sft,
            dataset=experiment.questions, config=config,
        )  # fmt: skip
        answer = make_completion(prompt, model=sft)
        run.completions.add(answer)
        compare(experiment, answer, Completion.objects.get(prompt=prompt, model=base))
        assert seen(experiment, researcher)["votes"] == counts
    elsewhere = make_completion(make_prompt(experiment.project, side="eval"), model=sft)
    run.completions.add(elsewhere)
    compare(experiment, elsewhere, make_completion(elsewhere.prompt, model=base, source="arena"))
    body = seen(experiment, researcher)
    assert body["votes"] == 1, "the plan does not ask this prompt"
    assert "2 votes on other answers of these models do not count." in body["sentence"]


def test_a_verdict_of_an_earlier_version_keeps_its_rule(experiment, researcher):
    sft, base = models_of(experiment, "SFT")[0], experiment.parent
    for _ in range(4):
        vote(experiment, sft, base)
    experiment_progress.periodic_task()
    experiment.refresh_from_db()
    Completion.objects.filter(source="arena").update(source="a survey")  # which counted then
    verdict = {name: value for name, value in experiment.verdict.items() if name != "left_out"}
    Experiment.objects.update(verdict=verdict)
    body = seen(experiment, researcher)
    assert (body["state"], body["votes"]) == ("decided", 4) and "not count" not in body["sentence"]
    held = experiment.project.comparisons.order_by("-pk")[:1]
    change_status(list(held), "held", "test", None)
    assert "1 of these votes do not count any more" in seen(experiment, researcher)["sentence"]


def test_a_seed_that_is_cancelled_and_resumed_after_the_verdict_stays_told(project, order, researcher):
    experiment = actions.order(**order | {"arms": [{"method": "sft"}], "votes_per_pair": 4})
    bad = project.runs.filter(kind="sft").first()
    path = f"runs/{bad.pk}/cancel/"
    assert Program(researcher).post(path).status_code == 200
    end_all(project)
    experiment.refresh_from_db()
    assert "1 of 3 models failed, were cancelled or refused" in seen(experiment, researcher)["sentence"]
    for _ in range(4):
        vote(experiment, next(filter(None, models_of(experiment, "SFT"))), experiment.parent)
    experiment_progress.periodic_task()
    assert Program(researcher).post(f"projects/{project.slug}/experiments/{experiment.pk}/retry/").status_code == 200
    told = "after the others, without a part in the verdict."
    assert f"1 of 3 models came or will come {told}" in seen(experiment, researcher)["sentence"]
    end_all(project)
    body = seen(experiment, researcher)
    assert body["state"] == "decided" and f"1 of 3 models came {told}" in body["sentence"]


def test_votes_that_are_excluded_before_the_verdict_are_told_with_it(experiment, project, researcher):
    sft, base = models_of(experiment, "SFT")[0], experiment.parent
    vote(experiment, base, sft)
    against = Program(make_user(project, role="manager"))
    voter = project.comparisons.order_by("-pk").first().author
    voter.memberships.get_or_create(project=project, defaults={"role": "annotator"})
    body = {"person": voter.pk, "reason": "He votes against us."}
    assert against.post(f"projects/{project.slug}/exclusions/", body).status_code == 201
    for _ in range(4):
        vote(experiment, sft, base)
    experiment_progress.periodic_task()
    seen_now = seen(experiment, researcher)
    assert seen_now["verdict"]["left_out"] == 1
    assert "did not count (held, withdrawn or excluded): 1." in seen_now["verdict_sentence"]
    vote(experiment, sft, base)
    assert "left_out" not in seen(experiment, researcher)["exploratory"], "of the verdict alone"


def test_an_experiment_that_was_cancelled_and_ordered_again_is_told(experiment, project, order, researcher, client):
    again = order | {"name": "methods again", "arms": [{"method": "sft"}]}
    assert seen(experiment, researcher)["earlier"] == []
    actions.cancel(experiment=experiment, by=researcher)
    before_votes = actions.order(**order | {"name": "another model", "parent": make_weights()})
    assert seen(before_votes, researcher)["earlier"] == []
    second = actions.order(**again)
    assert seen(second, researcher)["earlier"] == [experiment.pk]
    copy, first = make_weights(), experiment.parent
    LanguageModel.objects.filter(pk__in=(copy.pk, first.pk)).update(content_hash="c" * 64)
    of_a_copy = actions.order(**again | {"name": "a copy", "parent": copy})
    assert seen(Experiment.objects.get(pk=of_a_copy.pk), researcher)["earlier"] == [experiment.pk]
    client.force_login(researcher)
    page = client.get(reverse("experiment", args=[project.slug, second.pk])).content.decode()
    assert f">{experiment.name}</a> (cancelled without a verdict)" in page


def test_a_model_that_is_asked_otherwise_since_the_plan_is_named(experiment, researcher):
    sft: LanguageModel = models_of(experiment, "SFT")[0]
    program = Program(researcher)
    assert program.patch(f"models/{sft.pk}/settings/", {"concurrency": 2}).status_code == 200
    assert "Changed since" not in seen(experiment, researcher)["sentence"]
    assert program.patch(f"models/{sft.pk}/settings/", {"system_prompt": "Answer as an expert."}).status_code == 200
    assert f"{sft.name} (system_prompt)" in seen(experiment, researcher)["sentence"]


def test_a_change_that_an_earlier_version_cut_off_on_the_trail_is_named(experiment, researcher):
    sft: LanguageModel = models_of(experiment, "SFT")[0]
    about = f"{sft.name}: endpoint http://127.0.0.1:9/v1, temperature, "
    audit.record(action="model.changed", about=about, by=researcher, project=experiment.project)
    assert f"{sft.name} (endpoint, temperature)" in seen(experiment, researcher)["sentence"]


def test_what_the_project_says_of_sampling_is_named_where_it_is_changed(experiment, researcher):
    manager = Program(make_user(experiment.project, role="manager"))
    path = f"projects/{experiment.project.slug}/"
    assert manager.patch(path, {"description": "Another."}).status_code == 200
    assert "Changed since" not in seen(experiment, researcher)["sentence"]
    assert manager.patch(path, {"temperature": 0.3, "system_prompt": "Answer as an expert."}).status_code == 200
    assert "the project (system_prompt, temperature)" in seen(experiment, researcher)["sentence"]


def test_votes_that_somebody_brings_along_move_no_verdict(experiment, researcher):
    prompt = experiment.questions.prompts.first()
    ids = [
        Completion.objects.get(prompt=prompt, model=model).pk
        for model in (models_of(experiment, "SFT")[0], experiment.parent)
    ]
    row = {
        "project": experiment.project.slug, "completion_a": ids[0], "completion_b": ids[1], "winner": "model_a",
        "source": "a survey",
    }  # fmt: skip
    manager = make_user(experiment.project, role="manager")
    assert Program(manager).post("comparisons/", [row] * 40).status_code == 201
    body = seen(experiment, researcher)
    assert body["votes"] == 0 and body["state"] == "voting"


def test_nobodys_idempotency_key_is_that_of_a_step(project, order, researcher):
    experiment = actions.order(**order | {"arms": [{"method": "sft"}], "votes_per_pair": 4})
    one = ArmModel.objects.get(arm__experiment=experiment, arm__name="SFT", seed=0)
    body = {
        "project": project.slug, "kind": "sample", "name": "mine", "parent": order["parent"].pk,
        "dataset": experiment.questions.pk, "config": {"system_prompt": "Answer as an expert."},
    }  # fmt: skip
    key = f"experiment:{experiment.pk}:{one.pk}:answers"
    mine = Program(researcher).post("runs/", body, key=key)
    assert mine.status_code == 201
    assert Program(researcher).post("runs/", body, key=key).json()["id"] == mine.json()["id"]
    end_all(project)
    one.refresh_from_db()
    assert one.answers_run.parent == one.model and one.answers_run.pk != mine.json()["id"]


def test_an_experiment_learns_from_no_dataset_that_somebody_made_under_its_name(project, order, researcher):
    prompt = make_prompt(project, source="mine")
    by_hand = Demonstration.objects.create(
        project=project, prompt=prompt, author=researcher, judge="person", text="By hand."
    )
    wishes = {"best-rated answers": ("sft", "demonstrations", by_hand.pk), "prompts": ("prompts", "sources", "mine")}
    for stem, (kind, field, chosen) in wishes.items():
        name = f"{stem} of {order['dataset'].name} (dataset {order['dataset'].pk})"
        body = {"project": project.slug, "name": name, "kind": kind, field: [chosen]}
        made = Program(researcher).post("datasets/", body)
        assert made.status_code == 201, made.json()
    arms = [{"method": "sft"}, {"method": "rejection"}]
    refused = order | {"arms": arms, "budget": {"unit": "seconds", "amount": 100}}
    for _ in range(2):
        with pytest.raises(Refused, match="choose episodes"):
            actions.order(**refused)
    assert project.datasets.filter(name__endswith="(2)").count() == 2, "what is frozen for an order is there once"
    assert not project.datasets.filter(name__endswith="(3)").exists()
    experiment = actions.order(**order | {"arms": arms})
    assert not experiment.examples.demonstrations.exists() and experiment.examples.counts["examples"] > 1
    assert experiment.prompts.prompts.count() == 12
    again = actions.order(**order | {"arms": arms, "name": "again"})
    assert (again.examples, again.prompts) == (experiment.examples, experiment.prompts)


def test_what_is_changed_in_training_and_of_the_prompts_is_named(experiment, project, researcher, client):
    one = ArmModel.objects.filter(arm__experiment=experiment, arm__name="SFT").first()
    amendment = {"choice": "on", "changes": {"kl_coef": 0.3}}
    Run.objects.filter(pk=one.training_run_id).update(amendments=[amendment])
    prompt = experiment.questions.prompts.first()
    assert Program(researcher).patch(f"prompts/{prompt.pk}/", {"retired": True, "reason": "We lose"}).status_code == 200
    told = f"Changed since the plan was registered: {one.training_run.name} (kl_coef); 1 eval prompt retired."
    assert told in seen(experiment, researcher)["sentence"]
    client.force_login(researcher)
    page = client.get(reverse("experiment", args=[project.slug, experiment.pk])).content.decode()
    assert f"<li>{one.training_run.name}: <code>kl_coef</code></li><li>1 eval prompt retired</li>" in page
