"""What learns from answers that a judge model graded as a part of a reward says so, whatever the kind of run."""

from __future__ import annotations

import pytest
from django.urls import reverse

from annotate.models import Dataset, Project
from evaluation.registry import model_card
from tests.support.factories import make_model, make_project, sign_in
from tests.support.training.runs import make_dataset, make_weights
from training.core.run_directory import RunDirectory
from training.models import Run
from training.runs.queue import outputs

pytestmark = pytest.mark.django_db

GRADED = "reward_model\njudge judge='The grader' rubric='Is it true?' weight=0.5"
SAYS = "Answers that it learned from were graded by the judge model The grader: they show what it likes."


@pytest.fixture
def project() -> Project:
    return make_project()


def rejected(project: Project, rewards: str) -> Dataset:
    """Return the examples that a run of rejection sampling has left."""
    parent = make_weights()
    run = Run.objects.create(
        project=project, kind="rejection", name="the best of 4", parent=parent, dataset=make_dataset(project),
        config={"rewards": rewards},
    )  # fmt: skip
    directory = RunDirectory(run.path)
    directory.path.mkdir(parents=True)
    (directory.begin_dataset() / "examples.jsonl").write_text("{}\n")
    directory.commit_dataset()
    directory.finish({"counts": {"examples": 1, "prompts": 1}})
    outputs.record(run, outputs.gather(run, directory))
    run.save()
    return run.output_dataset


def test_examples_that_a_judge_helped_to_choose_say_so_on_their_page_and_on_the_card(client, project):
    dataset = rejected(project, GRADED)
    sign_in(client, project, "researcher")
    assert dataset.counts == {"examples": 1, "prompts": 1, "graded_by": "The grader"}
    page = client.get(reverse("dataset", args=[dataset.pk])).content.decode()
    assert "Chosen by a judge model" in page and "The grader" in page
    child = make_model(name="pupil", parent=make_model())
    Run.objects.create(
        project=project, kind="sft", name="pupil", parent=child.parent, dataset=dataset, output_model=child
    )
    card = model_card.markdown(child, readable=Project.objects.all())
    assert card.count(SAYS) == 1
    lineage = client.get(reverse("lineage", args=[child.pk])).content.decode()
    assert "graded by the judge model The grader" in lineage


def test_examples_without_a_judge_name_none(client, project):
    dataset = rejected(project, "reward_model\nlength maximum=20")
    sign_in(client, project, "researcher")
    assert "graded_by" not in dataset.counts
    assert "judge model" not in client.get(reverse("dataset", args=[dataset.pk])).content.decode()


@pytest.mark.parametrize(("rewards", "says"), [(GRADED, 1), ("reward_model", 0), ("", 0)])
def test_the_card_of_a_policy_that_followed_a_judge_says_so(project, rewards, says):
    child = make_model(name="pupil", parent=make_model())
    Run.objects.create(
        project=project, kind="ppo", name="pupil", parent=child.parent, output_model=child, config={"rewards": rewards}
    )
    grandchild = make_model(name="its child", parent=child)
    Run.objects.create(project=project, kind="sft", name="its child", parent=child, output_model=grandchild)
    for model in (child, grandchild):
        assert model_card.markdown(model, readable=Project.objects.all()).count(SAYS) == says
