"""A reward model that did not beat chance is not followed, unless somebody says so in so many words."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.urls import reverse

from annotate.core.errors import Refused
from annotate.models import LanguageModel
from evaluation.demo import training_stages
from evaluation.demo.plan import Plan, Turn, TurnStopped
from tests.support.api_client import errors, program
from tests.support.evaluation import reward_models
from tests.support.factories import make_user
from tests.support.sampling_of_cases import plain_run_tries
from tests.support.training import ppo_runs
from tests.support.training.runs import make_dataset, make_weights
from training.core import reward_trust
from training.core.run_directory import RunDirectory, RunSpec
from training.models import Run
from training.recipes import grpo, rloo
from training.recipes.common import entry, loading
from training.recipes.ppo import __main__ as ppo
from training.runs.ordering.actions import queue_run

AT_CHANCE = {
    "beats_chance": False,
    "slope": {"value": 0.21, "lower": -0.14, "upper": 0.56, "n": 96, "prompts": 12},
    "pair_accuracy": {"value": 0.54, "lower": 0.41, "upper": 0.67, "n": 60, "prompts": 12},
    "thumbs_auc": None,
}
PROVEN = {**AT_CHANCE, "beats_chance": True, "slope": {**AT_CHANCE["slope"], "lower": 0.05}}
FIGURES = "accuracy on pairs 0.54 [0.41, 0.67] where chance is 0.5, n = 60"
MAIN = {"ppo": ppo.main, "grpo": grpo.main, "rloo": rloo.main}


def tell(folder: Path, held_out: dict | None) -> Path:
    """What the reward run wrote beside the weights."""
    facts = json.loads((folder / "reward.json").read_text())
    facts.pop("held_out", None)
    (folder / "reward.json").write_text(json.dumps(facts | ({"held_out": held_out} if held_out else {})))
    return folder


@pytest.fixture
def reward_model(tmp_path: Path) -> Path:
    return reward_models.make(tmp_path / "judge")


# What is known


def test_the_evidence_is_read_beside_the_weights(reward_model: Path):
    assert reward_trust.of_folder(tell(reward_model, PROVEN)).beats_chance is True
    evidence = reward_trust.of_folder(tell(reward_model, AT_CHANCE))
    assert evidence.refuses and FIGURES in evidence.sentence
    assert "slope of all annotations 0.21 [-0.14, 0.56] where chance is 0, n = 96" in evidence.sentence


def test_of_an_older_reward_model_the_runs_result_tells_and_else_nobody_knows(tmp_path: Path):
    folder = tmp_path / "run" / "model"
    folder.mkdir(parents=True)
    assert reward_trust.of_folder(folder).beats_chance is None, "no reward model at all"
    (folder / "reward.json").write_text('{"method": "head"}')
    assert reward_trust.of_folder(folder).beats_chance is None
    old = {"beats_chance": False, "held_out": {n: row for n, row in AT_CHANCE.items() if n != "beats_chance"}}
    (folder.parent / "result.json").write_text(json.dumps(old))
    assert reward_trust.of_folder(folder).refuses and FIGURES in reward_trust.of_folder(folder).sentence
    (folder.parent / "result.json").write_text("{")
    assert not reward_trust.of_folder(folder).refuses, "what cannot be read is unknown"


def test_a_model_that_nothing_was_judged_for_has_not_been_told_from_chance():
    evidence = reward_trust.of_row({"beats_chance": False, "slope": None, "pair_accuracy": None})
    assert evidence.refuses and "There are no annotations" in evidence.sentence


# The recipes, from a run directory alone


def make(folder: Path, kind: str, model: Path, reward_model: Path, **config) -> RunDirectory:
    if kind == "ppo":
        return ppo_runs.make_run(folder, model, reward_model=reward_model, steps=1, **config)
    run = RunDirectory(folder)
    small = {"steps": 1, "batch_size": 4, "group_size": 2, "max_new_tokens": 6}
    spec = RunSpec(kind, {**small, **config}, seed=3, parent=str(model), reward_model=str(reward_model))
    run.create(spec, {"prompts": iter(ppo_runs.PROMPTS)})
    return run


@pytest.mark.parametrize("kind", MAIN)
def test_a_reward_model_at_chance_stops_the_run_before_anything_is_loaded(
    tmp_path: Path, model: Path, reward_model: Path, monkeypatch: pytest.MonkeyPatch, kind: str
):
    monkeypatch.setattr(loading, "load_policy", lambda *_: pytest.fail("a model was loaded"))
    run = make(tmp_path / "run", kind, model, tell(reward_model, AT_CHANCE))
    assert entry.attempt(MAIN[kind], run) == 1
    failure = run.failure()
    assert failure["code"] == "reward_not_proven" and FIGURES in failure["message"]
    assert "Annotate more answers" in failure["remedy"] and "trust_unproven_reward" in failure["remedy"]
    assert not run.checkpoints.exists()


@pytest.mark.parametrize("kind", plain_run_tries("ppo", of=MAIN))
def test_somebody_may_overrule_it_and_the_result_says_so(tmp_path: Path, model: Path, reward_model: Path, kind: str):
    run = make(tmp_path / "run", kind, model, tell(reward_model, AT_CHANCE), trust_unproven_reward=True)
    assert entry.attempt(MAIN[kind], run) == 0, run.failure()
    evidence = run.result()["reward_evidence"]
    assert (evidence["beats_chance"], evidence["overruled"]) == (False, True) and FIGURES in evidence["sentence"]


@pytest.mark.thorough
def test_an_older_reward_model_goes_on_working_with_a_warning(
    tmp_path: Path, model: Path, reward_model: Path, capsys: pytest.CaptureFixture
):
    run = make(tmp_path / "run", "ppo", model, tell(reward_model, None))
    assert entry.attempt(ppo.main, run) == 0, run.failure()
    evidence = run.result()["reward_evidence"]
    assert (evidence["beats_chance"], evidence["overruled"]) == ("unknown", False)
    assert "Warning: It was not measured whether this reward model is better than chance" in capsys.readouterr().out


def test_a_proven_one_is_followed_and_a_function_needs_no_evidence(tmp_path: Path, model: Path, reward_model: Path):
    run = make(tmp_path / "run", "ppo", model, tell(reward_model, PROVEN), trust_unproven_reward=True)
    assert entry.attempt(ppo.main, run) == 0, run.failure()
    assert run.result()["reward_evidence"]["overruled"] is False
    plain = ppo_runs.carry_out(ppo_runs.make_run(tmp_path / "function", model, steps=1))
    assert "reward_evidence" not in plain.result()


# The queue, by page and API


@pytest.fixture
def judge(reward_model: Path) -> LanguageModel:
    model = make_weights(kind="reward", name="judge")
    (model.path / "reward.json").write_text(tell(reward_model, AT_CHANCE).joinpath("reward.json").read_text())
    return model


@pytest.mark.django_db
@pytest.mark.parametrize("kind", MAIN)
def test_the_queue_refuses_it_and_names_the_field(project, judge: LanguageModel, kind: str):
    order = {
        "kind": kind, "project": project, "name": "run", "by": make_user(project, role="researcher"),
        "parent": make_weights(), "dataset": make_dataset(project), "reward_model": judge,
    }  # fmt: skip
    with pytest.raises(Refused) as caught:
        queue_run(**order)
    assert caught.value.status == 400 and list(caught.value.errors) == ["reward_model"]
    assert FIGURES in caught.value.errors["reward_model"]
    run = queue_run(**order, config={"trust_unproven_reward": True})
    assert run.config["trust_unproven_reward"] is True
    tell(judge.path, None)
    assert queue_run(**order | {"name": "unknown"}).config["trust_unproven_reward"] is False


@pytest.mark.django_db
def test_the_form_shows_the_refusal_beside_its_field_and_has_a_box_to_overrule_it(project, judge, client):
    client.force_login(make_user(project, role="researcher"))
    url = reverse("new-run", args=[project.slug, "ppo"])
    given = {"name": "ppo", "parent": make_weights().pk, "dataset": make_dataset(project).pk, "reward_model": judge.pk}
    page = client.get(url)
    fields = {name: field.initial for name, field in page.context["form"].fields.items()}
    typed = {name: value for name, value in fields.items() if value is not None and value is not False}
    assert 'type="checkbox" name="config.trust_unproven_reward"' in page.content.decode()
    refused = client.post(url, typed | {"seed": 0} | given)
    assert refused.status_code == 400 and FIGURES in refused.content.decode() and not Run.objects.exists()
    client.post(url, typed | {"seed": 0} | given | {"config.trust_unproven_reward": "on"})
    assert Run.objects.get().config["trust_unproven_reward"] is True


@pytest.mark.django_db
def test_a_program_is_refused_in_the_same_words(project, judge):
    researcher = program(project, "researcher")
    body = {
        "kind": "ppo", "project": project.slug, "name": "ppo", "parent": make_weights().pk,
        "dataset": make_dataset(project).pk, "reward_model": judge.pk,
    }  # fmt: skip
    assert FIGURES in errors(researcher.post("runs/", body))["reward_model"]
    assert researcher.post("runs/", {**body, "config": {"trust_unproven_reward": True}}).status_code == 201


# The demo's pipeline


@pytest.mark.django_db
def test_the_demo_stops_before_ppo_and_says_why(project, judge, monkeypatch: pytest.MonkeyPatch):
    turn = Turn("http://here", project, make_user(project, role="researcher"), Plan(), sft=make_weights(), reward=judge)
    monkeypatch.setattr(training_stages, "finished_run", lambda *_, **__: SimpleNamespace(output_model="ppo"))
    monkeypatch.setattr(training_stages, "dataset", lambda *_: None)
    with pytest.raises(TurnStopped) as stopped:
        training_stages.optimise(turn, lambda *_: None)
    assert FIGURES in str(stopped.value) and f"http://here/p/{project.slug}/runs/" in str(stopped.value)
    tell(judge.path, PROVEN)
    assert training_stages.optimise(turn, lambda *_: None) == "ppo"
    tell(judge.path, AT_CHANCE)
    Run.objects.create(kind="ppo", project=project, name=f"{project.slug}-ppo", config={}, parent=turn.sft)
    assert training_stages.optimise(turn, lambda *_: None) == "ppo", "a turn that has passed this stage stays passed"
