"""The five steps as commands: what they order, print and refuse. With a worker: tests/site/evaluation."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command

from annotate.models import Invitation, Project
from evaluation.first_model import run_following
from evaluation.models import FirstModel
from tests.support.annotate.openai_server import openai_server
from tests.support.factories import make_comparison, make_completion, make_prompt, make_user
from tests.support.training.runs import make_weights
from training.models import Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def mina():
    return make_user(is_superuser=True, is_staff=True, username="mina")


def said(*words: str, **options) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out, **options)
    return out.getvalue()


def pairs(project: Project, n: int = 20) -> None:
    model = make_weights()
    FirstModel.objects.create(project=project, model=model)
    for _ in range(n):
        prompt = make_prompt(project)
        make_comparison(make_completion(prompt, model=model), make_completion(prompt, model=model))


def test_a_project_is_made_with_its_model(mina):
    assert "Queued" in said("register_model", "owner/name", "--project", "tales", "--new", "Tales", "--queue")
    run = Run.objects.get()
    assert (run.project.name, run.project.slug, run.name, run.created_by) == ("Tales", "tales", "name", mina)
    with pytest.raises(CommandError, match="slug"):  # another project has it
        said("register_model", "owner/name", "--project", "tales", "--new", "Other", "--queue")


def test_an_address_is_asked_and_its_key_comes_from_the_environment(mina, project, monkeypatch):
    monkeypatch.setenv("ASSAY_ENDPOINT_KEY", "sk-mine")
    with openai_server() as server:
        server.models = ["gpt"]
        options = ("--project", project.slug, "--served-name", "gpt")
        assert "gpt answers: Hello there." in said("register_model", server.url, *options)
    path = FirstModel.objects.get()
    assert path.model is not None and path.model.sealed_key and not Run.objects.exists()


def test_a_wrong_project_names_those_that_there_are(mina, project):
    with pytest.raises(CommandError, match=project.slug):
        said("register_model", "owner/name", "--project", "absent")
    with pytest.raises(CommandError, match="There is no model yet"):
        said("sample_completions", "--project", project.slug)


def test_sampling_says_how_much_and_how_long(mina, project):
    pairs(project, 10)
    assert "20 answers, " in said("sample_completions", "--project", project.slug, "--queue")
    assert Run.objects.get().config["completions_per_prompt"] == 2


def test_an_invitation_is_a_link_that_works_once(mina, project):
    assert "/invitations/" in said("invite_annotator", "--project", project.slug)
    assert Invitation.objects.get().role == "annotator"


def test_training_says_what_is_proposed_and_why(mina, project):
    with pytest.raises(CommandError, match="no model"):
        said("train_model", "--project", project.slug)
    pairs(project)
    told = said("train_model", "--project", project.slug, "--dry-run")
    assert "DPO (proposed): 20 comparisons" in told and "KTO (not yet)" in told and not Run.objects.exists()
    assert "Queued" in said("train_model", "--project", project.slug, "--queue")
    assert Run.objects.get().kind == "dpo"


@pytest.mark.parametrize(("state", "reason"), [("failed", "It broke."), ("cancelled", "It was cancelled.")])
def test_a_run_that_does_not_succeed_ends_the_command_with_its_reason(project, state, reason):
    run = Run.objects.create(project=project, kind="dpo", name="x", state=state, reason=reason, remedy="Mend it.")
    with pytest.raises(CommandError, match=f"{state}. {reason} Mend it."):
        run_following.follow(run, print)
