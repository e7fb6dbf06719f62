"""An experiment goes on by itself where somebody resumes a run of it on the run's own page."""

from __future__ import annotations

from typing import Any

import pytest

from evaluation.experiments import actions, experiment_progress
from evaluation.models import ArmModel, Experiment
from tests.support.evaluation.experiments import end, end_all
from tests.support.factories import sign_in
from training.models import Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def own_reward(order) -> dict[str, Any]:
    """An order whose arms wait for a reward model of its own."""
    order["dataset"].counts["enough"] = True
    order["dataset"].save()
    return order | {"reward_model": None, "arms": [{"method": "best_of"}]}


def resume_on_its_page(client, run: Run) -> None:
    sign_in(client, run.project, "researcher")
    assert client.post(f"/runs/{run.pk}/resume/").status_code == 302
    run.refresh_from_db()
    assert run.state == "queued"


def state_of(experiment: Experiment) -> str:
    experiment.refresh_from_db()
    return experiment.state


def test_arms_wait_again_for_a_reward_model_whose_run_was_resumed(project, own_reward, client):
    experiment = actions.order(**own_reward | {"arms": [{"method": "sft"}, {"method": "best_of"}]})
    reward = project.runs.get(kind="reward")
    end(reward, "failed")
    assert ArmModel.objects.exclude(problem="").count() == 2
    resume_on_its_page(client, reward)
    experiment_progress.periodic_task()
    assert not ArmModel.objects.exclude(problem="").exists()
    end_all(project, ("sft", "sample"))
    assert state_of(experiment) == "training", "best-of-N is on its way"
    end(reward)
    end_all(project)
    assert state_of(experiment) == "voting"
    assert not ArmModel.objects.filter(entered_at=None).exists()


def test_an_experiment_that_failed_for_its_reward_model_goes_on_once_that_is_trained(project, own_reward, client):
    experiment = actions.order(**own_reward)
    reward = project.runs.get(kind="reward")
    end(reward, "failed")
    end_all(project, ("sample",))
    assert state_of(experiment) == "failed"
    resume_on_its_page(client, reward)
    end(reward)
    end_all(project)
    assert state_of(experiment) == "voting"


def test_an_experiment_that_failed_for_an_arm_goes_on_once_that_is_trained(project, order, client):
    experiment = actions.order(**order | {"arms": [{"method": "sft"}]})
    runs = list(project.runs.filter(kind="sft"))
    for run in runs:
        end(run, "failed")
    end_all(project)
    assert state_of(experiment) == "failed"
    for run in runs:
        resume_on_its_page(client, run)
    end(runs[0], "failed")
    assert state_of(experiment) == "failed", "nothing has come of it"
    end(runs[1])
    end_all(project)
    assert state_of(experiment) == "voting"


def test_of_a_cancelled_experiment_nothing_goes_on(project, own_reward, researcher, client):
    experiment = actions.order(**own_reward)
    reward = project.runs.get(kind="reward")
    end(reward, "failed")
    actions.cancel(experiment=experiment, by=researcher)
    resume_on_its_page(client, reward)
    end(reward)
    assert state_of(experiment) == "cancelled" and not project.runs.unfinished().exists()
