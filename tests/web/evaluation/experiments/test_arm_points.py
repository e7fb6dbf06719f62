"""KL and score of an experiment's models: who is measured, when, and how the page and the API show it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from evaluation.core.recent_values import Recent
from evaluation.experiments import actions, arm_measures, experiment_progress, score_frontiers
from evaluation.metrics import fluency_figures as fluency
from evaluation.models import ArmModel, Experiment
from tests.support.api_client import Program
from tests.support.evaluation.experiments import end_all, end_with_checkpoints
from tests.support.evaluation.measured import items, measured
from training.models import Metric, Run

pytestmark = pytest.mark.django_db
ARMS = [{"method": "sft"}, {"method": "best_of"}]


def points(project):
    return project.runs.filter(idempotency_key__endswith=":point")


def measure(run: Run, kl: float, score: float) -> None:
    """A run that measures a model ends with these figures on each of 12 prompts, give or take a tenth."""
    rows = [
        {fluency.KL: [kl + wave, 1.0], fluency.SCORE_ABOVE: [score + wave, 1.0, 0.0, 1.0]}
        for wave in (0.1, -0.1, 0.05, -0.05) * 3
    ]
    done = measured(run.project, run.parent, fluency.TASK, items(rows), measure="fluency")
    key, owner = run.idempotency_key, run.created_by
    run.delete()
    Run.objects.filter(pk=done.pk).update(idempotency_key=key, created_by=owner)


def answer(client, project, experiment):
    return client.get(f"/api/v1/projects/{project.slug}/experiments/{experiment.pk}/").json()


def test_models_with_weights_are_measured_once_they_are_in_the_arena(project, order):
    experiment = actions.order(**order | {"arms": ARMS})
    end_all(project, ("sft", "best_of"))
    assert not points(project).exists(), "a run that measures would keep others from the arena"
    end_all(project)
    ordered = list(points(project).order_by("pk"))
    trained = ArmModel.objects.filter(arm__method="sft").values_list("model", flat=True)
    assert [run.parent_id for run in ordered] == list(trained), "neither the base nor best-of-N"
    assert {run.reward_model for run in ordered} == {order["reward_model"]}
    experiment_progress.advance(experiment)
    assert points(project).count() == 2
    experiment.refresh_from_db()
    assert experiment.state == "voting", "and nobody waits for them"


def test_without_a_reward_model_nothing_is_measured(project, order):
    actions.order(**order | {"arms": ARMS[:1], "reward_model": None})
    end_all(project)
    assert project.contestants.exists() and not points(project).exists()


def test_a_refusal_loses_no_model_and_is_told_once(project, order, caplog, monkeypatch):
    monkeypatch.setattr(experiment_progress, "_logged_refusals", Recent(8))
    order["reward_model"].folder = ""
    experiment = actions.order(**order | {"arms": ARMS[:1]})
    order["reward_model"].save()
    end_all(project)
    experiment_progress.advance(experiment)
    assert not points(project).exists() and project.contestants.count() == 3
    assert not ArmModel.objects.exclude(problem="").exists()
    told = [record for record in caplog.records if "KL and score" in record.getMessage()]
    assert len(told) == 2, "one for each model, though three have looked"


def test_what_was_not_measured_before_the_verdict_is_measured_after_it(project, order):
    """A quota may have refused it, or a signal 9 have come between."""
    experiment = actions.order(**order | {"arms": ARMS[:1]})
    end_all(project)
    points(project).delete()
    Experiment.objects.update(state="decided", decided_at=timezone.now() - timedelta(days=9))
    experiment_progress.periodic_task()
    assert not points(project).exists(), "what keeps them from it so long lasts"
    Experiment.objects.update(decided_at=timezone.now() - timedelta(hours=9))
    experiment_progress.periodic_task()
    assert points(project).count() == 2
    assert experiment_progress.going_on().get() == experiment


def test_where_one_seed_is_measured_its_arm_shows_that_one(client, project, order, researcher):
    """What PPO recorded of the other one is of prompts of training, at another temperature."""
    experiment = actions.order(**order | {"arms": [{"method": "ppo"}]})
    end_all(project, ("ppo", "sample"))
    for one in ArmModel.objects.filter(arm__method="ppo").select_related("training_run"):
        Metric.objects.create(
            run=one.training_run, sequence=1, step=1, time=timezone.now(), values={"kl": 9.0, "score_mean": 3.0}
        )
    client.force_login(researcher)
    [before] = [arm for arm in answer(client, project, experiment)["arms"] if arm["method"] == "ppo"]
    assert (before["kl"], before["kl_lower"]) == (9.0, None)
    measure(points(project).order_by("pk").first(), 1.0, 0.5)
    [after] = [arm for arm in answer(client, project, experiment)["arms"] if arm["method"] == "ppo"]
    assert after["kl"] == pytest.approx(1.0) and after["kl_lower"] is not None
    assert sorted(one["kl"] for one in after["models"]) == [pytest.approx(1.0), 9.0]


def test_the_page_shows_kl_and_score_of_a_method_that_records_neither(client, project, order, researcher):
    experiment = actions.order(**order | {"arms": ARMS})
    end_all(project)
    for run, kl in zip(points(project).order_by("pk"), (1.0, 2.0), strict=True):
        measure(run, kl, 0.5)
    client.force_login(researcher)
    sft, best, base = (
        next(arm for arm in answer(client, project, experiment)["arms"] if arm["method"] == method)
        for method in ("sft", "best_of", "base")
    )
    assert (sft["kl"], sft["score"]) == (pytest.approx(1.5), pytest.approx(0.5))
    assert 1.3 < sft["kl_lower"] < 1.5 < sft["kl_upper"] < 1.7 and sft["score_lower"] < 0.5 < sft["score_upper"]
    assert [(one["kl"], one["score"]) for one in sft["models"]] == [
        (pytest.approx(1.0), pytest.approx(0.5)), (pytest.approx(2.0), pytest.approx(0.5)),
    ]  # fmt: skip
    assert best["kl"] is None and base["kl"] is None and base["kl_lower"] is None
    page = client.get(f"/p/{project.slug}/experiments/{experiment.pk}/").content.decode()
    assert page.count("<title>SFT, seed 0</title>") == page.count("<title>SFT, seed 1</title>") == 1
    assert "1.50<br><small>1." in page and "+0.50<br><small>+0.4" in page


def test_kept_checkpoints_make_the_line_of_a_method_that_records_none(client, project, order, researcher):
    arm = {"method": "dpo", "config": {"kept_checkpoints": 2}, "takes_checkpoints": True}
    experiment = actions.order(**order | {"arms": [arm]})
    end_with_checkpoints(project)
    kl_by_arm = {"DPO": 2.0, "DPO, step 4": 0.5, "DPO, step 8": 1.0}
    for run in points(project):
        measure(run, kl_by_arm[ArmModel.objects.get(model=run.parent).arm.name], 0.5)
    every = experiment_progress.members(experiment)
    found = score_frontiers.frontiers(
        every, arm_measures.points(experiment, every, experiment_progress.ordered_runs(experiment))
    )
    ways = {(one.arm, one.seed): [round(kl, 6) for kl, _ in one.points] for one in found}
    assert ways["DPO", 0] == ways["DPO", 1] == [0.0, 0.5, 1.0, 2.0]
    assert ways["DPO, step 4", 0] == []
    client.force_login(researcher)
    page = client.get(f"/p/{project.slug}/experiments/{experiment.pk}/").content.decode()
    assert page.count("<title>DPO, seed 0</title>") == 2, "a line and its dot"
    assert page.count("<title>DPO, step 4, seed 0</title>") == 1


def test_the_page_leads_to_all_runs_that_it_ordered(client, project, order, researcher):
    order["dataset"].counts["enough"] = True
    order["dataset"].save()
    experiment = actions.order(**order | {"arms": [{"method": "ppo"}], "reward_model": None, "measures_tax": True})
    end_all(project, ("reward",))
    end_all(project, ("ppo", "sample"))
    client.force_login(researcher)
    page = client.get(f"/p/{project.slug}/experiments/{experiment.pk}/").content.decode()
    ordered = experiment_progress.ordered_runs(experiment)
    assert {run.kind for run in ordered} == {"reward", "ppo", "sample", "evaluate"}
    assert not [run.name for run in ordered if f'href="/runs/{run.pk}/"' not in page]
    told = [one for arm in answer(client, project, experiment)["arms"] for one in arm["models"]]
    assert sorted(run for one in told for run in one["measuring_runs"]) == [
        run.pk for run in ordered.filter(kind="evaluate").order_by("pk")
    ]
    assert answer(client, project, experiment)["reward_run"] == ordered.get(kind="reward").pk


def test_a_run_under_a_key_in_capitals_is_nobodys_step(project, order, researcher):
    experiment = actions.order(**order | {"arms": ARMS[:1]})
    end_all(project, ("sft",))
    trained = ArmModel.objects.filter(arm__method="sft").values_list("model", flat=True)
    body = {
        "project": project.slug, "kind": "evaluate", "name": "mine", "parent": trained[0],
        "config": {"measure": "choices", "limit": 1000},
    }  # fmt: skip
    mine = Program(researcher).post("runs/", body, key=f"x:EXPERIMENT:{experiment.pk}:9:POINT")
    assert mine.status_code == 201
    end_all(project)
    assert set(points(project).exclude(pk=mine.json()["id"]).values_list("parent", flat=True)) == set(trained)


def test_a_foreign_key_that_an_older_version_stored_leaves_the_page_whole(client, project, order, researcher):
    experiment = actions.order(**order | {"arms": ARMS[:1]})
    Run.objects.create(
        project=project, kind="evaluate", name="theirs", parent=order["parent"], created_by=researcher,
        idempotency_key=f"{researcher.pk}:experiment:{experiment.pk}:abc:{arm_measures.TAX}",
    )  # fmt: skip
    client.force_login(researcher)
    assert client.get(f"/p/{project.slug}/experiments/{experiment.pk}/").status_code == 200
