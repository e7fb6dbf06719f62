"""An experiment from its order to its verdict: together into the arena, decided by the plan, and not before."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from annotate.arena.battles import pairing
from annotate.core.errors import Refused
from annotate.labelling.actions import change_status
from annotate.models import Comparison, LanguageModel
from evaluation.core import served_model
from evaluation.core.number_formats import roughly, whole
from evaluation.experiments import (
    actions,
    arm_methods,
    experiment_progress,
    experiment_results,
    experiment_start,
    present,
    score_frontiers,
)
from evaluation.judge_models import actions as judge_models
from evaluation.models import ArmModel, Candidacy, Experiment, Notice, Promotion
from evaluation.promotion import actions as promotion
from evaluation.promotion import enrolment
from tests.support.api_client import Program, errors
from tests.support.evaluation.experiments import end, end_all, models_of, vote
from tests.support.factories import (
    make_contestant,
    make_model,
    make_user,
    sign_in,
)
from training.models import Metric, Run
from training.runs.ordering import actions as runs
from training.storage import quotas

pytestmark = pytest.mark.django_db


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
    needed = {one["arm"]: one["votes_needed"] for one in experiment.verdict["comparisons"]}
    assert needed["SFT"] is None and (needed["DPO"] is None or needed["DPO"] > 60)
    [notice] = Notice.objects.filter(url=page)  # the project's one researcher, once
    assert notice.text == f"Experiment {experiment.name} has its verdict, after 60 votes."
    for _ in range(30):
        vote(experiment, dpo[0], sft[0])
    experiment_progress.periodic_task()
    experiment.refresh_from_db()
    shown = present.shown(experiment)
    assert shown.verdict.votes == 60 and shown.exploratory.votes == 90 and Notice.objects.count() == 1
    withdrawn = experiment_results.votes_on(experiment, experiment_results.registered(experiment)).first()
    change_status([withdrawn], "withdrawn", "test", None)
    text = client.get(page).content.decode()
    assert "1 of these votes do not count any more" in text, "later votes do not stand in for it"
    assert "Better than base: SFT" in text and "Family-wise error rate: at most 5 %" in text
    assert experiment.plan_hash[:16] in text


def test_beside_an_undecided_comparison_stands_how_many_votes_would_tell_it(project, order, client):
    experiment = actions.order(**order | {"arms": [{"method": "sft"}, {"method": "dpo"}], "votes_per_pair": 4})
    end_all(project)
    base, sft, dpo = (models_of(experiment, name) for name in ("base", "SFT", "DPO"))
    for turn in range(3):
        for seed in range(2):
            vote(experiment, sft[seed], base[0]) if turn else vote(experiment, base[0], sft[seed])
            vote(experiment, sft[seed], dpo[seed]) if turn else vote(experiment, dpo[seed], sft[seed])
    experiment_progress.periodic_task()
    experiment.refresh_from_db()
    by_arm = {one["arm"]: one for one in experiment.verdict["comparisons"]}
    assert {one["verdict"] for one in by_arm.values()} == {"undecided"}
    assert 12 < by_arm["SFT"]["votes_needed"] < 12_000 and by_arm["DPO"]["votes_needed"] is None
    page = reverse("experiment", args=[project.slug, experiment.pk])
    text = client.get(page).content.decode()
    assert f"about {roughly(by_arm['SFT']['votes_needed'])}</td>" in text
    limit = by_arm["DPO"]["limit"]
    assert (f"no votes help<br><small>luck of seeds: ±{whole(limit)}<" if limit >= 1 else ">no votes help</td>") in text
    of_before = [{**one} for one in experiment.verdict["comparisons"]]
    for one in of_before:
        del one["limit"], one["votes_needed"]
    Experiment.objects.update(verdict={**experiment.verdict, "comparisons": of_before})
    assert "no votes help" not in client.get(page).content.decode(), "an earlier version did not say"


def test_a_vote_after_the_moment_is_not_of_the_verdict_whatever_its_number(project, order):
    until = timezone.now() + timedelta(hours=1)
    experiment = actions.order(**order | {"arms": [{"method": "sft"}], "votes_per_pair": None, "until": until})
    end_all(project)
    experiment.refresh_from_db()
    (sft, _), base = models_of(experiment, "SFT"), experiment.parent
    for _ in range(3):
        vote(experiment, sft, base)
    now, votes = timezone.now(), Comparison.objects.filter(prompt__side="eval")
    over = {**experiment.plan, "stop": {"until": (now - timedelta(minutes=1)).isoformat()}}
    Experiment.objects.update(entered_at=now - timedelta(hours=2), plan=over)
    ArmModel.objects.update(entered_at=now - timedelta(hours=2))
    first = votes.order_by("pk").values_list("pk", flat=True)[0]  # its transaction began early and ended late
    votes.exclude(pk=first).update(created_at=now - timedelta(hours=1))
    experiment.refresh_from_db()
    assert experiment_results.reached(experiment).votes == 2
    assert experiment_results.decide(experiment)
    experiment.refresh_from_db()
    assert experiment.verdict["votes"] == 2 and experiment_results.reached(experiment).votes == 2


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


def test_arms_that_two_add_at_once_keep_what_both_have_frozen(project, order, researcher):
    experiment = actions.order(**order | {"arms": [{"method": "dpo"}]})
    earlier = Experiment.objects.get(pk=experiment.pk)  # as the second has read it
    actions.add_arm(experiment=experiment, by=researcher, arm={"method": "sft"})
    actions.add_arm(experiment=earlier, by=researcher, arm={"method": "rejection"})
    kept = Experiment.objects.get(pk=experiment.pk)
    assert kept.examples is not None and kept.prompts is not None


def test_an_arm_is_refused_where_somebody_has_added_the_last_one_or_cancelled_meanwhile(
    project, order, researcher, monkeypatch
):
    experiment, checked = actions.order(**order | {"arms": [{"method": "sft"}]}), experiment_start.checked
    monkeypatch.setattr(arm_methods, "MOST_ARMS", 2)

    def add(name: str) -> None:
        actions.add_arm(experiment=experiment, by=researcher, arm={"method": "dpo", "name": name})

    def meanwhile(act: Callable[[], object]) -> None:
        def check(*order: Any) -> Any:
            monkeypatch.setattr(experiment_start, "checked", checked)
            act()
            return checked(*order)

        monkeypatch.setattr(experiment_start, "checked", check)

    meanwhile(lambda: add("first"))
    with pytest.raises(Refused, match="at most 2"):
        add("second")
    monkeypatch.setattr(arm_methods, "MOST_ARMS", 3)
    meanwhile(lambda: actions.cancel(experiment=experiment, by=researcher))
    with pytest.raises(Refused, match="is cancelled"):
        add("third")
    names = experiment.arms.order_by("pk").values_list("name", flat=True)
    assert list(names) == ["base", "SFT", "first"] and not project.runs.unfinished().exists()


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


def test_an_exploratory_arm_that_was_refused_after_the_verdict_is_taken_up_again(
    project, order, researcher, client, monkeypatch
):
    experiment = actions.order(**order | {"arms": [{"method": "sft"}], "votes_per_pair": 1})
    end_all(project)
    vote(experiment, models_of(experiment, "SFT")[0], experiment.parent)
    experiment_progress.periodic_task()
    experiment.refresh_from_db()
    assert experiment.state == "decided"
    verdict = experiment.verdict

    def refuse(*given: Any, **order: Any) -> Any:
        raise Refused(409, parent="It is being moved.")

    with monkeypatch.context() as refusing:
        refusing.setattr(experiment_progress, "queue_run", refuse)
        actions.add_arm(experiment=experiment, by=researcher, arm={"method": "dpo"})
    late = ArmModel.objects.filter(arm__name="DPO")
    assert set(late.values_list("problem", flat=True)) == {"It is being moved."}
    sign_in(client, project, "researcher")
    address = reverse("experiment", args=[project.slug, experiment.pk])
    assert "Resume what failed" in client.get(address).content.decode()
    answer = Program(researcher).post(f"projects/{project.slug}/experiments/{experiment.pk}/retry/", {})
    assert answer.status_code == 200 and answer.json() == {"retried": 2}
    end(project.runs.unfinished().filter(kind="dpo").first(), "failed")
    end_all(project)
    client.post(reverse("experiment-retry", args=[project.slug, experiment.pk]))
    end_all(project)
    experiment.refresh_from_db()
    assert not late.filter(entered_at=None).exists() and late.count() == 2
    assert (experiment.state, experiment.verdict) == ("decided", verdict)


def test_a_run_that_ends_while_all_are_cancelled_keeps_none_at_work(project, order, researcher, monkeypatch):
    experiment = actions.order(**order)
    read = list(actions.ordered_runs(experiment))
    end(project.runs.get(pk=read[0].pk), "failed")
    monkeypatch.setattr(actions, "ordered_runs", lambda experiment: read)  # as they stood a moment before
    actions.cancel(experiment=experiment, by=researcher)
    assert len(read) > 1 and not project.runs.unfinished().exists()


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


def test_all_models_answer_as_the_parent_did_when_the_plan_was_registered(project, order, client):
    parent = order["parent"]
    parent.temperature, parent.system_prompt = 0.25, "Be brief."
    parent.save()
    experiment = actions.order(**order | {"arms": [{"method": "sft"}, {"method": "best_of"}]})
    end(project.runs.filter(kind="sft").first())
    first_asked = set(project.runs.values_list("pk", flat=True))
    parent.temperature, parent.system_prompt = 0.9, "Be long."
    parent.save()
    end_all(project)
    answers = project.runs.filter(kind__in=("sample", "best_of"))
    assert answers.exclude(pk__in=first_asked).exists(), "a model was asked after the parent's settings had changed"
    assert {(run.config["temperature"], run.config["system_prompt"]) for run in answers} == {(0.25, "Be brief.")}
    page = client.get(reverse("experiment", args=[project.slug, experiment.pk])).content.decode()
    assert "temperature 0.25" in page and "Be brief." in page


def test_a_quota_that_is_used_up_loses_no_model_and_older_skills_are_cancelled_too(
    project, order, researcher, monkeypatch
):
    def refuse(project):
        raise Refused(409, gpu_hours="All are used up.")

    with monkeypatch.context() as used_up:
        used_up.setattr(quotas, "check", refuse)
        experiment = actions.order(**order | {"measures_tax": True})
        assert not project.runs.exists() and not ArmModel.objects.exclude(problem="").exists()
        assert "waits for a quota. All are used up." in present.shown(experiment).sentence
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


def test_what_a_dead_process_queued_as_it_was_cancelled_ends_with_it_and_what_is_resumed_stays(
    project, order, researcher, monkeypatch
):
    experiment = actions.order(**order)
    resumed = project.runs.filter(kind="sft").first()
    actions.cancel(experiment=experiment, by=researcher)
    runs.resume(run=resumed, by=researcher)
    with monkeypatch.context() as died:
        died.setattr(experiment_progress, "_is_live", lambda experiment: True)  # it did not come to look again
        late = experiment_progress._queue(
            experiment, "late", kind="sample", name="late", parent=order["parent"], dataset=experiment.questions
        )
    assert late.state == "queued"
    experiment_progress.periodic_task()
    assert list(project.runs.unfinished()) == [resumed]


def test_runs_end_though_the_process_that_cancelled_their_experiment_died_before_it_came_to_them(
    project, order, researcher, monkeypatch
):
    experiment = actions.order(**order)
    with monkeypatch.context() as died:
        died.setattr(runs, "cancel_unfinished", lambda **given: None)
        actions.cancel(experiment=experiment, by=researcher)
    assert project.runs.unfinished().exists()
    experiment_progress.periodic_task()
    assert not project.runs.unfinished().exists()


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
    points = score_frontiers.points_by_run([run])[run.pk]
    assert len(points) <= 1.5 * score_frontiers.MOST_POINTS and (points[0][0], points[-1][0]) == (0.01, 10.01)


def test_a_frontier_ends_where_its_model_does(project, researcher):
    """PPO that broke a limit keeps the last policy within it; the steps behind it are no model's."""
    run = Run.objects.create(
        project=project, kind="ppo", name="stopped", config={}, created_by=researcher, result={"step": 2}
    )
    Metric.objects.bulk_create(
        Metric(run=run, sequence=n, step=n, time=timezone.now(), values={"kl": 1.0 * n, "score_mean": 0.5 * n})
        for n in range(4)
    )
    assert score_frontiers.points_by_run([run])[run.pk] == [(0.0, 0.0), (1.0, 0.5), (2.0, 1.0)]


def test_kl_of_a_frontier_is_by_answer_whatever_the_run_records(project, researcher):
    """By TRL's trainers GRPO and RLOO recorded nats a token; all record nats an answer now."""
    by_token = {"kl": 0.1, "length_mean": 40.0}
    by_answer = {"kl": 4.0, "kl_per_token": 0.1, "length_mean": 40.0}
    for kind, kls in (("grpo", by_token), ("grpo", by_answer), ("rloo", by_token), ("ppo", {"kl": 4.0})):
        name = f"{kind} {len(kls)}"
        run = Run.objects.create(project=project, kind=kind, name=name, config={}, created_by=researcher)
        values = {**kls, "score_mean": 1.0}
        Metric.objects.create(run=run, sequence=1, step=1, time=timezone.now(), values=values)
        assert score_frontiers.points_by_run([run])[run.pk][0][0] == pytest.approx(4.0), kind


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
    Promotion.objects.create(project=project, model=model, reason="By an earlier version.")
    assert served_model.promoted(project).model == model and served_model.serves(project) is None
    asked = {"messages": [{"role": "user", "content": "Why?"}]}
    response = Program(researcher).post(f"projects/{project.slug}/default-model/v1/chat/completions", asked)
    assert "promote its parent" in errors(response, 409)["model"]


def test_frontiers_have_a_line_for_each_run_and_a_dot_where_it_ends():
    assert score_frontiers.picture([], {}) is None
    found = [
        score_frontiers.Frontier("DPO", 0, None, [(0.0, 0.0), (0.5, 0.3), (1.0, 0.4)]),
        score_frontiers.Frontier("best-of-4", 1, None, [(0.64, 0.31)]),  # one point is no line
    ]
    drawn = score_frontiers.picture(found, score_frontiers.colours(["DPO", "best-of-4"]))
    assert drawn.count("<circle") == 2 and drawn.count("DPO, seed 0") == 2 and drawn.count("best-of-4, seed 1") == 1
    many = score_frontiers.colours([*(f"arm {n}" for n in range(8)), "DPO"])
    assert "stroke-dasharray" not in drawn and "stroke-dasharray" in score_frontiers.picture(found[:1], many)
