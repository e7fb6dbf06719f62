"""What `manage.py demo` makes of its options, and what its terminal shows."""

from __future__ import annotations

import io
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import call_command

from annotate.models import Membership, Project
from evaluation.demo import stages
from evaluation.demo.plan import Plan, Turn
from evaluation.management.commands import demo
from tests.support.factories import make_model, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def terminal(monkeypatch):
    """The demo without its stages, and what the log writes to its terminal."""
    monkeypatch.setattr(demo.Command, "_turn", lambda *_: logging.getLogger("assay.holds").warning("held the lock"))
    monkeypatch.setattr(demo.Command, "_say_what_came", lambda *_: logging.getLogger("assay").error("no more room"))
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    logging.getLogger().addHandler(handler)
    yield written
    logging.getLogger().removeHandler(handler)


def test_its_project_shows_the_length_that_its_answers_are_sampled_with(monkeypatch, terminal):
    call_command("demo", max_new_tokens=48)
    project = Project.objects.get(slug="demo")
    assert project.max_new_tokens == 48
    orders: list[dict[str, Any]] = []
    made = SimpleNamespace(completions=SimpleNamespace(count=int))
    monkeypatch.setattr(stages, "dataset", lambda *_, **__: None)
    monkeypatch.setattr(stages, "finished_run", lambda *_, **order: orders.append(order["config"]) or made)
    project.max_new_tokens = 80  # changed in its settings
    models = [make_model() for _ in range(4)]
    turn = Turn("http://here", project, make_user(project), Plan(), *models[:2], ppo=models[2], pretrained=models[3])
    stages.answer_train_prompts(turn, lambda *_: None), stages.answer_eval_prompts(turn, lambda *_: None)
    assert [config["max_new_tokens"] for config in orders] == [80] * 5


def test_prepared_it_shows_the_finished_project_and_says_where(terminal, capsys):
    call_command("demo", prepare=True, url="http://here:8000")
    said = capsys.readouterr().out
    sample, live = said.index("http://here:8000/p/sample/"), said.index("http://here:8000/p/demo/")
    assert sample < live and "Sample project (finished" in said and "password" in said
    assert Membership.objects.get(project__slug="sample", user__username="demo").role == "manager"
    assert Project.objects.filter(slug="demo").exists() and terminal.getvalue() == ""


def test_a_sample_that_cannot_be_loaded_is_said_and_left_out(terminal, capsys):
    make_model(name="sample-ppo")
    call_command("demo", prepare=True)
    said = capsys.readouterr().out
    assert (
        "left out. The sample project needs names that are taken by the model sample-ppo" in said and "/p/demo/" in said
    )


def test_its_log_goes_to_a_file_and_its_terminal_shows_errors_alone(terminal, settings):
    call_command("demo")
    assert terminal.getvalue() == "no more room\n"
    log = (settings.DATA_DIR / "logs" / "demo.log").read_text(encoding="utf-8")
    assert "WARNING assay.holds: held the lock" in log and "no more room" in log
    logging.getLogger("assay").warning("afterwards")
    assert "afterwards" in terminal.getvalue()
