"""What was ordered is carried out to its end in the name of whoever ordered it, also where they have left since."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.urls import reverse

from annotate.data.datasets import freezing
from annotate.models import Dataset, Project, User
from annotate.projects.actions import add_member, change_settings, remove_member
from evaluation.experiments import actions, experiment_progress
from evaluation.models import ArmModel
from tests.support.evaluation.experiments import end_all
from tests.support.factories import sign_in
from training.runs.ordering import actions as runs

pytestmark = pytest.mark.django_db


@pytest.fixture
def manager(project, client) -> User:
    return sign_in(client, project, "manager")


def leave(project: Project, person: User, manager: User) -> None:
    remove_member(project=project, user=person, by=manager)


def lose_role(project: Project, person: User, manager: User) -> None:
    add_member(project=project, user=person, role="annotator", by=manager)


def be_switched_off(project: Project, person: User, manager: User) -> None:
    User.objects.filter(pk=person.pk).update(is_active=False)


def lack_second_factor(project: Project, person: User, manager: User) -> None:
    change_settings(project=project, by=None, needs_second_factor=True)


@pytest.mark.parametrize(
    ("go", "words"),
    [
        (leave, "who has left the project"),
        (lose_role, "whose role here is now annotator"),
        (be_switched_off, "whose account is inactive"),
        (lack_second_factor, ""),
    ],
)
def test_an_experiment_goes_on_to_its_end_in_the_name_of_whoever_ordered_it(
    project, order, researcher, manager, client, go: Callable[..., None], words
):
    experiment = actions.order(**order | {"arms": [{"method": "sft"}]})
    go(project, researcher, manager)
    page = client.get(reverse("experiment", args=[project.slug, experiment.pk])).content.decode()
    if go is not lack_second_factor:  # the manager has none, either
        assert f"Ordered by {researcher.username}" in page and words in page
        assert "It goes on in that name" in page
    end_all(project)
    experiment.refresh_from_db()
    assert experiment.state == "voting" and not ArmModel.objects.exclude(problem="").exists()
    assert set(project.runs.values_list("created_by", flat=True)) == {researcher.pk}


def test_a_page_names_who_ordered_an_experiment_to_those_who_may_order(project, order, researcher, client):
    experiment = actions.order(**order)
    address = reverse("experiment", args=[project.slug, experiment.pk])
    Project.objects.update(is_public=True)
    assert researcher.username not in client.get(address).content.decode()
    client.force_login(researcher)
    page = client.get(address).content.decode()
    assert f"Ordered by {researcher.username}." in page and "It goes on" not in page


def test_large_datasets_of_an_experiment_are_frozen_though_whoever_ordered_it_has_left(
    project, order, researcher, manager, monkeypatch
):
    monkeypatch.setattr(freezing, "SMALL", 2)
    experiment = actions.order(**order)
    leave(project, researcher, manager)
    while freezing.freezer().do_now():
        experiment_progress.periodic_task()
    experiment_progress.periodic_task()
    experiment.refresh_from_db()
    assert (experiment.state, experiment.problem) == ("training", "")
    made = Dataset.objects.exclude(pk=order["dataset"].pk)
    assert set(made.values_list("created_by", flat=True)) == {researcher.pk}


def test_what_is_cancelled_ends_though_whoever_ordered_it_has_left(project, order, researcher, manager, monkeypatch):
    experiment = actions.order(**order)
    leave(project, researcher, manager)
    with monkeypatch.context() as died:
        died.setattr(runs, "cancel_unfinished", lambda **given: None)  # as where its process was killed
        actions.cancel(experiment=experiment, by=manager)
    late = {"kind": "sample", "parent": order["parent"], "dataset": experiment.questions}
    assert experiment_progress._queue(experiment, "late", name="late", **late).state == "cancelled"
    experiment_progress.periodic_task()
    assert not project.runs.unfinished().exists()


def test_an_arm_that_somebody_else_adds_later_is_trained_in_their_name(project, order, researcher, manager):
    experiment = actions.order(**order | {"arms": [{"method": "sft"}]})
    leave(project, researcher, manager)
    actions.add_arm(experiment=experiment, by=manager, arm={"method": "dpo"})
    end_all(project)
    of_arm = project.runs.filter(kind="dpo") | project.runs.filter(kind="sample", parent__name__contains="DPO")
    assert of_arm.count() == 4 and set(of_arm.values_list("created_by", flat=True)) == {manager.pk}
