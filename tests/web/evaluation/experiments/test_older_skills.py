"""Older skills of an experiment's models: accuracy on the built-in suite against the parent's, on the same items."""

from __future__ import annotations

import pytest

from evaluation.experiments import actions, arm_measures
from evaluation.models import ArmModel
from tests.support.evaluation.experiments import end_all
from tests.support.evaluation.measured import items, measured, right

pytestmark = pytest.mark.django_db


def test_older_skills_are_set_against_the_parents_on_the_same_items(client, project, order, researcher):
    experiment = actions.order(**order | {"arms": [{"method": "sft"}], "measures_tax": True})
    end_all(project)
    sft = ArmModel.objects.filter(arm__name="SFT").order_by("seed")
    for model, marks in ((order["parent"], [1, 0]), (sft[0].model, [1, 1]), (sft[1].model, [1, 0])):
        measured(project, model, arm_measures.SUITE_TASK, items(right(marks * 50)))
    client.force_login(researcher)
    answer = client.get(f"/api/v1/projects/{project.slug}/experiments/{experiment.pk}/").json()
    (arm,) = [arm for arm in answer["arms"] if arm["method"] == "sft"]
    assert arm["tax"] == [0.5, 0.0] and arm["tax_items"] == 100
    assert 0.15 < arm["tax_lower"] < 0.25 < arm["tax_upper"] < 0.35
    page = client.get(f"/p/{project.slug}/experiments/{experiment.pk}/").content.decode()
    assert f"+25.0<br><small>+{100 * arm['tax_lower']:.1f} to +{100 * arm['tax_upper']:.1f}</small>" in page
    measured(project, order["parent"], arm_measures.SUITE_TASK, items(right([1] * 40)))  # by another experiment
    measured(project, sft[0].model, arm_measures.SUITE_TASK, items(right([1] * 10)))
    again = client.get(f"/api/v1/projects/{project.slug}/experiments/{experiment.pk}/").json()
    assert [one for one in again["arms"] if one["method"] == "sft"] == [arm]


def test_older_skills_of_one_experiment_are_measured_on_as_many_items(project, order):
    actions.order(**order | {"measures_tax": True})
    measuring = project.runs.filter(idempotency_key__endswith=":tax")
    base = measuring.get()
    assert base.config["limit"] == 1000
    measuring.update(config=base.config | {"limit": 40})  # as an earlier version ordered it
    end_all(project)
    assert measuring.count() > 1 and {run.config["limit"] for run in measuring.all()} == {40}
