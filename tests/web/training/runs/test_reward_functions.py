"""A reward is a function that the operator lists, by name: nobody else chooses what Python runs on this machine."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from annotate.core.errors import Refused
from tests.support.api_client import Program
from tests.support.training.runs import make_dataset, make_weights
from training.core.run_directory import RecipeFailure, RunDirectory
from training.models import Run
from training.runs.ordering import actions, reward_functions
from training.runs.queue import preparation

pytestmark = pytest.mark.django_db
SHELL = "pydoc.pipepager"
LISTED = {"short answers": "operator.rewards.short"}
ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def listed(settings):
    settings.REWARD_FUNCTIONS = LISTED


def queue(project, researcher, function, kind="ppo", **given):
    return actions.queue_run(
        kind=kind, project=project, name=given.pop("name", "rewarded"), by=researcher, parent=make_weights(),
        dataset=make_dataset(project), config={"reward_function": function}, **given,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["ppo", "grpo", "rloo"])
@pytest.mark.parametrize("function", [SHELL, "operator.rewards.long", "os.system", "short"])
def test_a_function_that_the_operator_did_not_list_is_refused(project, researcher, listed, kind, function):
    with pytest.raises(Refused) as caught:
        queue(project, researcher, function, kind)
    assert caught.value.status == 400
    assert "short answers" in caught.value.errors["config.reward_function"], "it says which there are"


def test_with_nothing_listed_it_says_who_lists_them(project, researcher):
    with pytest.raises(Refused, match="ASSAY_REWARD_FUNCTIONS"):
        queue(project, researcher, SHELL)


def test_the_run_keeps_the_name_and_the_recipe_is_handed_the_path(project, researcher, listed):
    run = queue(project, researcher, "short answers")
    assert run.config["reward_function"] == "short answers"
    assert preparation.prepare(run).spec().config["reward_function"] == "operator.rewards.short"


def test_the_worker_refuses_what_stands_in_the_database_but_not_in_the_list(project, researcher, listed):
    run = queue(project, researcher, "short answers")
    Run.objects.filter(pk=run.pk).update(config={**run.config, "reward_function": SHELL})
    run.refresh_from_db()
    with pytest.raises(RecipeFailure, match=r"pydoc\.pipepager") as caught:
        preparation.prepare(run)
    assert caught.value.code == "reward_not_allowed"
    assert not (run.path / "config.json").exists(), "no recipe finds it"


def test_a_run_of_before_goes_on_when_its_path_is_one_of_those_listed(project, researcher, listed):
    run = queue(project, researcher, "operator.rewards.short")
    assert preparation.prepare(run).spec().config["reward_function"] == "operator.rewards.short"


def test_a_name_that_has_come_to_mean_another_function_does_not_go_on_with_it(project, researcher, listed, settings):
    run = queue(project, researcher, "short answers")
    preparation.prepare(run)
    settings.REWARD_FUNCTIONS = {"short answers": "operator.rewards.shorter"}
    with pytest.raises(RecipeFailure, match="shorter") as caught:
        preparation.prepare(run)
    assert caught.value.code == "reward_changed"
    assert RunDirectory(run.path).spec().config["reward_function"] == "operator.rewards.short"


def test_the_form_offers_names_and_takes_nothing_else(project, researcher, listed, client):
    client.force_login(researcher)
    address = f"/p/{project.slug}/runs/new/grpo/"
    page = client.get(address).content.decode()
    assert '<option value="short answers">short answers</option>' in page and "operator.rewards" not in page
    sent = {"name": "n", "parent": make_weights().pk, "dataset": make_dataset(project).pk, "seed": 0}
    answer = client.post(address, {**sent, "config.reward_function": SHELL})
    assert answer.status_code == 400 and not Run.objects.exists()


def test_without_a_list_the_form_asks_for_a_reward_model_alone(project, researcher, client):
    client.force_login(researcher)
    page = client.get(f"/p/{project.slug}/runs/new/grpo/").content.decode()
    assert "reward_function" not in page and "Reward model" in page


def test_api_and_yaml_refuse_it_alike(project, researcher, listed):
    api = Program(researcher)
    parent, dataset = make_weights(), make_dataset(project)
    order = {"kind": "ppo", "project": project.slug, "name": "n", "config": {"reward_function": SHELL}}
    answer = api.post("runs/", {**order, "parent": parent.pk, "dataset": dataset.pk})
    assert answer.status_code == 400 and "config.reward_function" in answer.json()["errors"]
    yaml = (
        f"kind: rloo\nname: n\nproject: {project.slug}\nparent: {parent.name}\ndataset: {dataset.name}\n"
        f"config: {{reward_function: {SHELL}}}\n"
    )
    answer = api.http.post("/api/v1/runs/from-yaml/", yaml, content_type="application/yaml")
    assert answer.status_code == 400 and "config.reward_function" in answer.json()["errors"]
    assert not Run.objects.exists()


def test_the_list_is_read_from_one_line():
    read = reward_functions.read_list("short answers = operator.rewards.short, vowels=a.b ,")
    assert read == {"short answers": "operator.rewards.short", "vowels": "a.b"}
    assert reward_functions.read_list("") == {}


@pytest.mark.parametrize("line", ["operator.rewards.short", "short=", "=a.b", "short=nodots", "x=a.b,x=c.d", "x=a.b()"])
def test_a_list_that_cannot_be_read_stops_the_start(line):
    with pytest.raises(ImproperlyConfigured, match="ASSAY_REWARD_FUNCTIONS"):
        reward_functions.read_list(line)


# Who turns a text into code. A new one is looked at: can its text come from a request?
IMPORTERS = {
    "annotate/data/rows/example_tasks.py",  # a list of its own: modules of Python's library
    "annotate/simulation/annotator.py",  # --taste of the operator's commands
    "evaluation/recipes/evaluate.py",  # one of MODULES by config.measure, which has choices
    "training/runs/launchers/fork_server.py",  # a list of libraries in the file itself
    "training/runs/worker.py",  # settings.RUN_LAUNCHER
    "training/recipes/rewards/scoring.py",  # what config.json of a run directory says: the worker writes what is listed
}


def test_nobody_else_imports_by_a_text():
    found = set()
    for path in [
        p for app in ("annotate", "training", "evaluation", "config", "common") for p in (ROOT / app).rglob("*.py")
    ]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            name = getattr(called, "attr", None) or getattr(called, "id", None)
            if name in ("import_module", "import_string", "__import__", "resolve_name", "eval", "exec") and not (
                name == "eval" and isinstance(called, ast.Attribute)  # of a torch module
            ):
                found.add(str(path.relative_to(ROOT)))
    assert found == IMPORTERS
