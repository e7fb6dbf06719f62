"""Names of models are unique on a site: where somebody takes one that an arm was to have, the arm gets another."""

from __future__ import annotations

import pytest
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.models import LanguageModel
from evaluation.experiments import actions, experiment_progress
from evaluation.models import ArmModel, Notice
from tests.support.evaluation.experiments import end, end_all
from tests.support.factories import make_model, make_project
from training.storage import quotas

pytestmark = pytest.mark.django_db


def test_an_arm_whose_name_another_project_has_taken_gets_a_free_one_and_all_enter(project, order, monkeypatch):
    def used_up(project):
        raise Refused(403, gpu_hours="The quota is used up.")

    with monkeypatch.context() as later:
        later.setattr(quotas, "check", used_up)
        experiment = actions.order(**order | {"arms": [{"method": "sft"}]})
    assert not project.runs.exists()
    elsewhere, wanted = make_project(), f"methods {experiment.pk}: SFT s0"
    make_model(name=wanted, project=elsewhere)
    make_model(name=f"{wanted} (2)", project=elsewhere)
    end_all(project)
    experiment_progress.periodic_task()
    end_all(project)
    experiment.refresh_from_db()
    assert experiment.state == "voting" and not ArmModel.objects.exclude(problem="").exists()
    made = LanguageModel.objects.filter(made_by__project=project).values_list("name", flat=True)
    assert sorted(made) == [f"{wanted} (3)", f"methods {experiment.pk}: SFT s1"]


def test_a_run_whose_name_was_taken_since_it_failed_is_resumed_under_a_free_one(project, order, researcher):
    experiment = actions.order(**order | {"arms": [{"method": "sft"}]})
    for run in project.runs.filter(kind="sft"):
        end(run, "failed")
    run = project.runs.filter(kind="sft").earliest("pk")
    make_model(name=run.name, project=make_project())
    assert actions.retry(experiment=experiment, by=researcher) == 2
    name = run.name
    run.refresh_from_db()
    assert (run.state, run.name) == ("queued", f"{name} (2)")


def test_a_run_that_cannot_be_resumed_keeps_no_other_from_it(project, order, researcher):
    experiment = actions.order(**order | {"arms": [{"method": "best_of"}, {"method": "sft"}]})
    end_all(project, ("sample",))
    for run in project.runs.unfinished():
        end(run, "failed")
    experiment.refresh_from_db()
    assert experiment.state == "failed"
    LanguageModel.objects.filter(pk=order["reward_model"].pk).update(retired_at=timezone.now())
    assert actions.retry(experiment=experiment, by=researcher) == 2, "of SFT; best-of-N needs the reward model"
    end_all(project)
    experiment.refresh_from_db()
    assert experiment.state == "voting"


def test_an_experiment_of_which_nothing_can_be_resumed_says_why_and_stays_failed(project, order, researcher):
    experiment = actions.order(**order | {"arms": [{"method": "best_of"}]})
    end_all(project, ("sample",))
    for run in project.runs.unfinished():
        end(run, "failed")
    LanguageModel.objects.filter(pk=order["reward_model"].pk).update(retired_at=timezone.now())
    told = Notice.objects.count()
    with pytest.raises(Refused, match="is retired"):
        actions.retry(experiment=experiment, by=researcher)
    experiment_progress.periodic_task()
    experiment.refresh_from_db()
    assert experiment.state == "failed" and Notice.objects.count() == told == 1
