"""What a project's page says is next while the demo works there, when it was cut short, and when it is done."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from rich.console import Console

from annotate.models import Dataset
from evaluation.demo import progress_file
from evaluation.demo.pipeline_runs import run_keys
from evaluation.demo.plan import Stage, TurnStopped
from evaluation.demo.screen import Screen
from tests.support.factories import (
    make_comparison,
    make_completion,
    make_contestant,
    make_guideline,
    make_model,
    make_prompt,
    make_rating,
    make_user,
)
from tests.support.training.runs import make_run

pytestmark = pytest.mark.django_db
STAGES = (Stage("PPO follows the reward", lambda *_: "", 600), Stage("Older skills, measured", lambda *_: "", 120))


def said(client, project) -> tuple[str, str]:
    step = client.get(reverse("project", args=[project.slug])).context["next"]
    return step.words, step.address


@pytest.fixture
def around(project):
    """A project in which all that the loop asks of people is done, so that the demo's last stages alone are left."""
    model = make_contestant(project).model
    answer = make_completion(make_prompt(project), model=model)
    ranking = make_prompt(project, side="eval")
    make_guideline(project), make_user(project), make_rating(answer)
    dataset = Dataset.objects.create(project=project, kind="sft", name="d", side="train", content_hash="x")
    make_run(project, kind="sft", name="made one", dataset=dataset, output_model=make_model(), state="succeeded")
    make_comparison(make_completion(ranking, model=model), make_completion(ranking))
    return project


@pytest.mark.parametrize("role", ["manager", "researcher", None])
def test_while_the_demo_runs_its_page_says_what_it_does_until_when_and_links_its_run(client, project, role):
    if role:
        client.force_login(make_user(project, role=role))
    run = make_run(project, kind="ppo", state="running", idempotency_key=f"1:{run_keys(project)}ppo:demo-ppo")
    make_run(project, kind="sft", state="running")  # somebody's own
    with progress_file.telling(project.slug) as tell:
        tell("PPO follows the reward", 7, 15, timezone.now() + timedelta(seconds=17.5 * 60))
        words, address = said(client, project)
    assert "the demo does the rest automatically" in words and "stage 7 of 15, “PPO follows the reward”" in words
    assert "in about 18 minutes" in words
    assert address == reverse("run", args=[run.pk])


def test_the_loop_has_turned_only_when_the_last_stage_is_done(client, around):
    client.force_login(make_user(around, role="manager"))
    assert "The first loop is complete" in said(client, around)[0]
    with progress_file.telling(around.slug) as tell:
        screen = Screen(Console(quiet=True), STAGES, tell)
        with screen.stage(STAGES[0]):
            assert "stage 1 of 2" in said(client, around)[0]
        with screen.stage(STAGES[1]):
            words = said(client, around)[0]
            assert "stage 2 of 2" in words and "The first loop is complete" not in words
    assert "The first loop is complete" in said(client, around)[0]


def test_a_demo_that_was_cut_short_says_where_it_goes_on(client, project):
    client.force_login(make_user(project, role="manager"))
    with pytest.raises(TurnStopped), progress_file.telling(project.slug) as tell:
        tell("PPO follows the reward", 7, 15, timezone.now())
        raise TurnStopped("the run has failed")
    words, address = said(client, project)
    assert "was stopped in stage 7 of 15" in words and "start script/demo again" in words
    assert address == reverse("runs", args=[project.slug])


def test_an_annotator_goes_on_annotating_while_the_demo_runs(client, project):
    client.force_login(make_user(project))
    with progress_file.telling(project.slug) as tell:
        tell("PPO follows the reward", 7, 15, timezone.now())
        assert "demo" not in said(client, project)[0]


def test_a_second_demo_of_the_same_project_is_refused(monkeypatch, project):
    monkeypatch.setattr(progress_file, "PATIENCE", 0.0)
    second = progress_file.telling(project.slug)
    with progress_file.telling(project.slug), pytest.raises(TurnStopped, match="Another demo"), second:
        pass
