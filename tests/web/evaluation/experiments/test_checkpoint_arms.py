"""Kept checkpoints of an arm's runs: exploratory arms of their own, rated beside the others and without a verdict."""

from __future__ import annotations

import pytest
from django.urls import reverse

from annotate.core.errors import Refused
from annotate.models import Comparison, Dataset
from evaluation.experiments import actions, arm_checkpoints, experiment_progress, present
from evaluation.models import ArmModel
from tests.support.api_client import Program, errors
from tests.support.evaluation.experiments import end, end_all, end_with_checkpoints, models_of, vote
from tests.support.factories import make_model, sign_in
from training.models import KeptCheckpoint

pytestmark = pytest.mark.django_db

KEEPS = {"method": "dpo", "config": {"kept_checkpoints": 2}, "takes_checkpoints": True}


def test_kept_checkpoints_enter_the_arena_as_exploratory_arms_of_each_seed(project, order, client):
    experiment = actions.order(**order | {"arms": [{"method": "sft"}, KEEPS]})
    end_with_checkpoints(project)
    experiment.refresh_from_db()
    assert experiment.state == "voting"
    assert [(arm.name, arm.is_exploratory) for arm in experiment.arms.all()] == [
        ("base", False), ("SFT", False), ("DPO", False), ("DPO, step 4", True), ("DPO, step 8", True),
    ]  # fmt: skip
    assert not ArmModel.objects.filter(entered_at=None).exists()
    inside = set(project.contestants.values_list("model", flat=True))
    for step in (4, 8):
        kept = set(KeptCheckpoint.objects.filter(step=step).values_list("model", flat=True))
        assert len(kept) == 2 and kept == {model.pk for model in models_of(experiment, f"DPO, step {step}")}
        assert kept <= inside
    assert project.runs.filter(kind="dpo").count() == 2, "nothing is trained for a checkpoint"
    page = client.get(reverse("experiment", args=[project.slug, experiment.pk])).content.decode()
    assert "a kept checkpoint" in page and "exploratory arms, without a part in the verdict: DPO (2)." in page


def test_checkpoints_have_no_part_in_the_verdict_and_count_among_what_all_votes_say(project, order, client):
    experiment = actions.order(**order | {"arms": [{"method": "sft"}, KEEPS], "votes_per_pair": 14})
    end_with_checkpoints(project)
    base, sft, dpo = (models_of(experiment, name) for name in ("base", "SFT", "DPO"))
    for step in (4, 8):
        for model in models_of(experiment, f"DPO, step {step}"):
            vote(experiment, model, base[0])
            vote(experiment, base[0], model)
    for turn in range(7):
        for seed in range(2):
            vote(experiment, sft[seed], base[0]) if turn % 3 else vote(experiment, base[0], sft[seed])
            vote(experiment, dpo[seed], base[0]) if turn % 2 else vote(experiment, base[0], dpo[seed])
            vote(experiment, sft[seed], dpo[seed]) if turn % 2 else vote(experiment, dpo[seed], sft[seed])
    experiment_progress.periodic_task()
    experiment.refresh_from_db()
    assert experiment.state == "decided"
    assert {one["arm"] for one in experiment.verdict["comparisons"]} == {"SFT", "DPO"}
    shown = present.shown(experiment)
    assert shown.verdict_sentence.endswith("Checkpoints rated beside it, without a part in it: 2.")
    assert shown.exploratory.votes == Comparison.objects.filter(prompt__side="eval").count()
    tested = {one.arm: one for one in shown.exploratory.comparisons}
    assert set(tested) == {"SFT", "DPO", "DPO, step 4", "DPO, step 8"}
    page = client.get(reverse("experiment", args=[project.slug, experiment.pk])).content.decode()
    assert "4 comparisons, tested at once" in page


def test_a_program_orders_them_and_reads_which_arm_and_step_they_are_of(project, order, researcher):
    program = Program(researcher)
    path = f"projects/{project.slug}/experiments/"
    body = {field: order[field] for field in ("name", "seeds", "votes_per_pair")} | {
        "parent": order["parent"].pk, "dataset": order["dataset"].pk, "reward_model": order["reward_model"].pk,
    }  # fmt: skip
    answer = program.post(path, body | {"arms": [{"method": "dpo", "takes_checkpoints": True}]})
    assert answer.status_code == 400 and "how many it keeps" in errors(answer)["arms.0.config.kept_checkpoints"]
    answer = program.post(path, body | {"arms": [{"method": "best_of", "takes_checkpoints": True}]})
    assert answer.status_code == 400 and "arms.0.config.kept_checkpoints" in errors(answer)
    # A checkpoint's name has 60 characters at most, with what it adds: “, checkpoint 10 of 12”.
    answer = program.post(path, body | {"arms": [KEEPS | {"name": "N" * 40}]})
    assert answer.status_code == 400 and "at most 39" in errors(answer)["arms.0.name"]
    answer = program.post(path, body | {"arms": [{"method": "sft", "name": "SFT, step 4"}]})
    assert answer.status_code == 400 and "of a checkpoint" in errors(answer)["arms"]
    answer = program.post(path, body | {"arms": [KEEPS]})
    assert answer.status_code == 201, answer.content
    end_with_checkpoints(project)
    arms = {arm["name"]: arm for arm in program.get(f"{path}{answer.json()['id']}/").json()["arms"]}
    assert arms["DPO, step 8"]["checkpoint_of"] == arms["DPO"]["id"] and arms["DPO, step 8"]["step"] == 8
    assert arms["DPO"]["checkpoint_of"] is None and arms["DPO"]["step"] is None


def test_checkpoints_count_among_the_models_that_an_experiment_may_have(project, order, researcher):
    many = {"method": "dpo", "config": {"kept_checkpoints": 15}, "takes_checkpoints": True}
    with pytest.raises(Refused, match="17 arms, checkpoints too"):
        actions.order(**order | {"arms": [{"method": "sft"}, many]})
    experiment = actions.order(**order | {"arms": [{"method": "sft"}, many | {"config": {"kept_checkpoints": 13}}]})
    actions.add_arm(experiment=experiment, by=researcher, arm={"method": "kto"})
    with pytest.raises(Refused, match="17 arms, checkpoints too"):
        actions.add_arm(experiment=experiment, by=researcher, arm={"method": "sft", "name": "again"})


def test_the_page_takes_checkpoints_of_arms_that_keep_some(project, order, client):
    sign_in(client, project, "researcher")
    page = reverse("new-experiment", args=[project.slug])
    form = {
        "name": "by page", "parent": order["parent"].pk, "dataset": order["dataset"].pk, "method": ["sft", "dpo"],
        "seeds": "2", "votes_per_pair": "4", "completions_per_prompt": "2", "alpha": "0.05", "judge": "person",
        "family": "baseline", "stop": "votes", "takes_checkpoints": "on",
    }  # fmt: skip
    answer = client.post(page, form)
    assert answer.status_code == 400 and "No arm keeps checkpoints" in answer.content.decode()
    answer = client.post(page, form | {"options.dpo": "kept_checkpoints=2"})
    assert answer.status_code == 302, answer.content.decode()
    end_with_checkpoints(project)
    experiment = project.experiments.get()
    assert [arm.name for arm in experiment.arms.filter(is_exploratory=True)] == ["DPO, step 4", "DPO, step 8"]
    added = {"method": "kto", "name": "", "options": "beta=0.3; kept_checkpoints=1", "takes_checkpoints": "on"}
    address = reverse("experiment-arm", args=[project.slug, experiment.pk])
    refused = client.post(address, added | {"options": "beta=0.3"})
    assert refused.status_code == 400 and "No arm keeps checkpoints" in refused.content.decode()
    assert not experiment.arms.filter(method="kto").exists()
    client.post(address, added)
    arm = experiment.arms.get(method="kto")
    assert arm.config["config"]["beta"] == 0.3 and arm.config["takes_checkpoints"] is True


def test_a_cancelled_experiment_gets_no_arm_of_checkpoints_that_came_meanwhile(project, order, researcher):
    experiment = actions.order(**order | {"arms": [{"method": "sft"}, KEEPS]})
    run = project.runs.filter(kind="dpo").first()
    end(run)
    KeptCheckpoint.objects.create(run=run, step=4, model=make_model(name="step 4", parent=run.parent, folder="m/4"))
    every = experiment_progress.members(experiment)
    actions.cancel(experiment=experiment, by=researcher)
    assert not arm_checkpoints.add_kept(experiment, every)
    assert [arm.name for arm in experiment.arms.all()] == ["base", "SFT", "DPO"]


def test_seeds_of_rejection_share_an_arm_for_each_checkpoint_though_their_steps_differ(project, order):
    """Each seed draws examples of its own, and has as many steps as they make."""
    rejects = {"method": "rejection", "config": {"kept_checkpoints": 2}, "takes_checkpoints": True}
    experiment = actions.order(**order | {"arms": [{"method": "sft"}, rejects]})
    for run in project.runs.filter(kind="rejection"):
        examples = experiment.examples
        run.output_dataset = Dataset.objects.create(
            project=project, name=f"examples of {run.seed}", kind="sft", side="train", judge=examples.judge,
            content_hash=examples.content_hash, counts=examples.counts,
        )  # fmt: skip
        end(run)
    steps_by_seed = {0: (4, 8), 1: (5, 10)}
    assert not ArmModel.objects.exclude(problem="").values("problem"), "examples alone are learnt from"
    for run in project.runs.filter(kind="sft", name__contains="Rejection"):
        for step in steps_by_seed[run.seed]:
            model = make_model(name=f"{run.name}, step {step}", parent=run.parent, folder=f"models/{run.pk}-{step}")
            KeptCheckpoint.objects.create(run=run, step=step, model=model)
        end(run)
    end_all(project)
    kept = experiment.arms.filter(is_exploratory=True)
    assert [arm.name for arm in kept] == [
        "Rejection sampling, checkpoint 1 of 2",
        "Rejection sampling, checkpoint 2 of 2",
    ]
    for place, arm in enumerate(kept):
        of_arm = arm.models.order_by("seed").values_list("model__kept_checkpoint__step", flat=True)
        assert list(of_arm) == [steps_by_seed[0][place], steps_by_seed[1][place]]
    shown = {row["name"]: row for row in present.as_json(present.shown(experiment))["arms"]}
    assert (
        shown[kept[0].name]["step"] is None
        and shown[kept[0].name]["checkpoint_of"] == shown["Rejection sampling"]["id"]
    )
