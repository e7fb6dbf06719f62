"""An experiment from its order to its verdict: together into the arena, decided by the plan, and not before."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from annotate.arena.battles import pairing
from annotate.core.errors import Refused
from annotate.data.datasets.actions import freeze
from annotate.models import LanguageModel
from evaluation.experiments import actions, experiment_progress, experiment_results, present, score_frontiers
from evaluation.judge_models import actions as judge_models
from evaluation.models import ArmModel, Candidacy, Experiment
from evaluation.promotion import actions as promotion
from evaluation.promotion import enrolment
from tests.support.factories import (
    make_comparison,
    make_completion,
    make_contestant,
    make_model,
    make_project,
    make_prompt,
    make_rating,
    make_user,
    sign_in,
)
from tests.support.training.runs import make_weights
from training.models import Metric, Run
from training.runs.ordering.end_events import tell_finished
from training.storage import quotas

pytestmark = pytest.mark.django_db

ARMS = [{"method": "sft"}, {"method": "dpo", "sweep": {"beta": [0.1, 0.5]}}, {"method": "best_of"}]


@pytest.fixture
def project():
    return make_project()


@pytest.fixture
def researcher(project):
    return make_user(project, role="researcher")


@pytest.fixture
def order(project, researcher) -> dict[str, Any]:
    """Feedback of the train split, frozen; prompts of the eval split; and a model to start from."""
    annotator = make_user(project)
    for number in range(12):
        prompt = make_prompt(project, f"Train {number}")
        good, bad = make_completion(prompt, f"Good {number}."), make_completion(prompt, f"Bad {number}.")
        make_comparison(good, bad, "model_a", annotator)
        make_rating(good, annotator, thumbs=True)
        make_rating(bad, annotator, thumbs=False)
    make_prompt(project, "Nobody has annotated this.")
    for number in range(3):
        make_prompt(project, f"Eval {number}", side="eval")
    dataset = freeze(project=project, kind="preferences", name="judgements", by=None)
    reward = make_weights(kind=LanguageModel.Kind.REWARD)
    return {
        "project": project, "by": researcher, "name": "methods", "parent": make_weights(), "dataset": dataset,
        "arms": ARMS, "seeds": 2, "votes_per_pair": 4, "reward_model": reward,
    }  # fmt: skip


def end(run: Run, state: str = "succeeded") -> None:
    """End a run as the worker does, with what its kind leaves."""
    if state == "succeeded":
        model = run.parent
        if run.kind != "sample":
            run.output_model = model = make_model(
                name=run.name, parent=run.parent, folder="" if run.kind == "best_of" else f"models/{run.pk}"
            )
        if run.kind in ("sample", "best_of"):
            for prompt in run.dataset.prompts.all():
                make_completion(prompt, model=model)
    run.state = state
    run.save()
    tell_finished(run)


def end_all(project, kinds: tuple[str, ...] = ("sft", "dpo", "best_of", "sample")) -> None:
    while runs := list(project.runs.unfinished().filter(kind__in=kinds)):
        for run in runs:
            end(run)


def vote(experiment: Experiment, winner: LanguageModel, other: LanguageModel) -> None:
    """Somebody new prefers the one to the other."""
    prompt = experiment.questions.prompts.first()
    pair = (make_completion(prompt, model=winner), make_completion(prompt, model=other))
    make_comparison(*pair, "model_a", make_user(experiment.project))


def models_of(experiment: Experiment, arm: str) -> list[LanguageModel]:
    return [one.model for one in ArmModel.objects.filter(arm__experiment=experiment, arm__name=arm).order_by("seed")]


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


def test_all_enter_at_one_moment_when_each_has_finished_or_failed(project, order):
    experiment = actions.order(**order)
    end(project.runs.filter(kind="dpo").first(), "failed")
    end_all(project, ("sft", "best_of", "sample"))
    assert not project.contestants.exists() and not Candidacy.objects.exists(), "two models still train"
    end_all(project)
    experiment.refresh_from_db()
    assert experiment.state == "voting"
    entered = ArmModel.objects.exclude(entered_at=None)
    assert project.contestants.count() == entered.count() == 8  # the base, and seven of eight
    assert len(set(entered.values_list("entered_at", flat=True))) == 1
    shown = present.shown(experiment)
    assert shown.verdict is None and "0 of 40 votes" in shown.sentence and "1 of 9 models failed" in shown.sentence


def test_battles_go_to_what_the_plan_compares(project, order):
    experiment = actions.order(**order)
    end_all(project)
    assert pairing.PAIR_WEIGHTS.first is not None
    rates = pairing.PAIR_WEIGHTS.first(project, pairing.contestants(project))
    asked = [frozenset((experiment.parent_id, model.pk)) for model in models_of(experiment, "SFT")]
    assert sum(rates.values()) == pytest.approx(1)
    assert min(rates[pair] for pair in asked) > 2 * rates[frozenset(m.pk for m in models_of(experiment, "SFT"))]


def test_the_verdict_is_of_the_votes_that_the_plan_asked_for_and_stays(project, order, client):
    experiment = actions.order(**order | {"arms": [{"method": "sft"}, {"method": "dpo"}], "votes_per_pair": 20})
    end_all(project)
    page = reverse("experiment", args=[project.slug, experiment.pk])
    base, sft, dpo = (models_of(experiment, name) for name in ("base", "SFT", "DPO"))
    for turn in range(14):
        for seed in range(2):
            vote(experiment, sft[seed], base[0]) if turn % 7 else vote(experiment, base[0], sft[seed])
            vote(experiment, dpo[seed], base[0]) if turn % 2 else vote(experiment, base[0], dpo[seed])
    experiment_progress.periodic_task()
    experiment.refresh_from_db()
    assert experiment.state == "voting" and "There is no verdict before that" in client.get(page).content.decode()
    for _ in range(4):
        vote(experiment, sft[0], dpo[0])
    experiment_progress.periodic_task()
    experiment.refresh_from_db()
    assert experiment.state == "decided" and experiment.verdict["votes"] == 60
    verdicts = {one["arm"]: one["verdict"] for one in experiment.verdict["comparisons"]}
    assert verdicts == {"SFT": "better", "DPO": "undecided"}
    for _ in range(30):
        vote(experiment, dpo[0], sft[0])
    experiment_progress.periodic_task()
    experiment.refresh_from_db()
    shown = present.shown(experiment)
    assert shown.verdict.votes == 60 and shown.exploratory.votes == 90
    text = client.get(page).content.decode()
    assert "Better than base: SFT" in text and "Family-wise error rate: at most 5 %" in text
    assert experiment.plan_hash[:16] in text


def test_an_arm_that_comes_later_is_exploratory_and_has_no_part_in_the_verdict(project, order, researcher):
    experiment = actions.order(**order | {"arms": [{"method": "sft"}], "votes_per_pair": 1})
    end_all(project)
    actions.add_arm(experiment=experiment, by=researcher, arm={"method": "dpo", "name": "DPO later"})
    end_all(project)
    with pytest.raises(Refused, match="at most 16"):
        sweep = {"beta": [0.1 + n / 100 for n in range(15)]}
        actions.add_arm(experiment=experiment, by=researcher, arm={"method": "dpo", "sweep": sweep})
    (sft, _), (later, _) = models_of(experiment, "SFT"), models_of(experiment, "DPO later")
    experiment.refresh_from_db()
    assert ArmModel.objects.get(model=later).entered_at > experiment.entered_at
    vote(experiment, later, experiment.parent)
    assert experiment_results.reached(experiment).votes == 0
    vote(experiment, sft, experiment.parent)
    experiment_progress.periodic_task()
    experiment.refresh_from_db()
    assert experiment.state == "decided" and [one["name"] for one in experiment.verdict["arms"]] in (
        [],
        ["SFT", "base"],
    )
    assert experiment.plan_hash == actions.hash_of(experiment.plan)


def test_what_failed_is_resumed_and_what_is_cancelled_stays_so(project, order, researcher):
    experiment = actions.order(**order)
    failed = project.runs.filter(kind="dpo").first()
    end(failed, "failed")
    assert actions.retry(experiment=experiment, by=researcher) == 1
    failed.refresh_from_db()
    assert failed.state == "queued"
    actions.cancel(experiment=experiment, by=researcher)
    assert not project.runs.unfinished().exists()
    with pytest.raises(Refused):
        actions.add_arm(experiment=Experiment.objects.get(), by=researcher, arm={"method": "dpo", "name": "x"})


def test_a_reward_model_is_trained_once_and_its_failure_is_told_on_the_arms(project, order):
    order["dataset"].counts["enough"] = True
    order["dataset"].save()
    experiment = actions.order(**order | {"reward_model": None, "arms": [{"method": "best_of"}, {"method": "ppo"}]})
    assert [run.kind for run in project.runs.exclude(kind="sample")] == ["reward"]
    end(project.runs.get(kind="reward"), "failed")
    problems = ArmModel.objects.exclude(problem="")
    assert problems.count() == 4 and "reward model" in problems.first().problem
    end_all(project)
    experiment.refresh_from_db()
    assert experiment.state == "failed"


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
    assert wrong.status_code == 400 and "seeds" in wrong.context["errors"]


def test_all_models_answer_with_the_settings_of_the_parent_and_long_names_keep_their_seed(project, order):
    parent = order["parent"]
    parent.temperature, parent.system_prompt = 0.25, "Be brief."
    parent.save()
    actions.order(**order | {"name": "m" * 60, "arms": [{"method": "sft", "name": "a" * 60}], "measures_tax": True})
    end_all(project)
    answers = project.runs.filter(kind="sample")
    assert {(run.config["temperature"], run.config["system_prompt"]) for run in answers} == {(0.25, "Be brief.")}
    assert answers.count() == len(set(answers.values_list("name", flat=True))) == 3
    assert project.runs.filter(idempotency_key__endswith=":tax").count() == 3


def test_a_quota_that_is_used_up_loses_no_model_and_older_skills_are_cancelled_too(
    project, order, researcher, monkeypatch
):
    def refuse(project):
        raise Refused(409, gpu_hours="All are used up.")

    with monkeypatch.context() as used_up:
        used_up.setattr(quotas, "check", refuse)
        experiment = actions.order(**order | {"measures_tax": True})
        assert not project.runs.exists() and not ArmModel.objects.exclude(problem="").exists()
    experiment_progress.periodic_task()
    assert project.runs.filter(kind="sft").count() == 2 and project.runs.filter(kind="evaluate").count() == 1
    actions.cancel(experiment=experiment, by=researcher)
    assert not project.runs.unfinished().exists()


def test_what_is_queued_while_it_is_cancelled_ends_with_it(project, order, researcher):
    experiment = actions.order(**order)
    actions.cancel(experiment=experiment, by=researcher)
    run = experiment_progress._queue(
        experiment, "late", kind="sample", name="late", parent=order["parent"], dataset=experiment.questions
    )
    assert run.state == "cancelled"


def test_an_experiment_that_failed_goes_on_once_its_runs_are_resumed(project, order, researcher, client):
    experiment = actions.order(**order | {"arms": [{"method": "sft"}]})
    for run in project.runs.filter(kind="sft"):
        end(run, "failed")
    end_all(project)
    experiment.refresh_from_db()
    assert experiment.state == "failed"
    sign_in(client, project, "researcher")
    assert (
        "Resume what failed" in client.get(reverse("experiment", args=[project.slug, experiment.pk])).content.decode()
    )
    assert actions.retry(experiment=experiment, by=researcher) == 2
    end_all(project)
    experiment.refresh_from_db()
    assert experiment.state == "voting"


def test_a_frontier_is_thinned_and_keeps_its_ends(project, researcher):
    run = Run.objects.create(project=project, kind="ppo", name="long", config={}, created_by=researcher)
    Metric.objects.bulk_create(
        Metric(run=run, sequence=n, step=n, time=timezone.now(), values={"kl": n / 100, "score": 1.0} if n % 2 else {})
        for n in range(1, 1002)
    )
    points = score_frontiers.points_of(run)
    assert len(points) <= 1.5 * score_frontiers.MOST_POINTS and (points[0][0], points[-1][0]) == (0.01, 10.01)


def test_best_of_n_answers_no_new_question_so_it_is_no_judge_no_candidate_and_not_served(project, researcher):
    model = make_model(folder="", project=project)
    make_contestant(project, model)
    run = Run.objects.create(
        project=project, kind="best_of", name="best", config={}, output_model=model, state="succeeded"
    )
    assert model not in LanguageModel.objects.that_answer()
    assert enrolment.enrol(run) is None and enrolment.enrol_missing() == 0
    with pytest.raises(Refused, match="no endpoint"):
        promotion.promote(project=project, model=model, reason="It won.", by=make_user(project, role="manager"))
    with pytest.raises(Refused, match="as a judge"):
        judge_models.create_judge(project=project, by=researcher, name="j", model=model)
