"""The five steps for programs: the same actions, rules and words as on the pages."""

from __future__ import annotations

import pytest

from annotate.models import Dataset, LanguageModel, Project, User
from evaluation.first_model import actions as first_model
from evaluation.first_model.recipe_choice import Annotated
from evaluation.models import FirstModel
from tests.support.annotate.keyed_api import keyed_api
from tests.support.annotate.openai_server import openai_server
from tests.support.api_client import Program
from tests.support.factories import make_comparison, make_completion, make_model, make_prompt, make_user
from tests.support.training.runs import make_weights
from training.models import Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def rita(project) -> Program:
    return Program(make_user(project, role="researcher"))


def where(project: Project, step: str = "") -> str:
    return f"projects/{project.slug}/first-model/{step}"


def pairs(project: Project, model: LanguageModel, n: int = 20) -> None:
    for _ in range(n):
        prompt = make_prompt(project)
        make_comparison(make_completion(prompt, model=model), make_completion(prompt, model=model))


def test_an_empty_project_is_at_its_first_step(project, rita):
    known = rita.get(where(project)).json()
    assert (known["step"], known["model"], known["proposed"], known["child"]) == ("model", None, "", None)
    assert {recipe["kind"] for recipe in known["recipes"]} == {"ppo", "dpo", "kto", "sft"}


def test_the_five_steps(project, rita):
    model = make_weights()
    taken = rita.post(where(project, "model/"), {"model": model.pk})
    assert taken.status_code == 201 and taken.json()["step"] == "prompts"
    rita.post("prompts/", [{"project": project.slug, "text": f"Why, {n}?"} for n in range(20)])
    assert rita.get(where(project)).json()["step"] == "answers"
    asked = rita.post(where(project, "answers/"), {"completions_per_prompt": 2, "max_new_tokens": 16})
    run = Run.objects.get()
    assert asked.json()["runs"]["answers"] == run.pk and run.config["max_new_tokens"] == 16
    Run.objects.update(state="succeeded")
    pairs(project, model)
    assert rita.get(where(project)).json()["proposed"] == "dpo"
    trained = rita.post(where(project, "training/"), {})
    assert trained.status_code == 201 and trained.json()["step"] == "training"
    assert Run.objects.get(pk=trained.json()["runs"]["training"]).kind == "dpo"


def test_a_run_under_a_key_of_ones_own_is_no_step(project, rita):
    path = FirstModel.objects.create(project=project, model=make_weights())
    make_prompt(project)
    body = {
        "project": project.slug, "kind": "evaluate", "name": "mine", "parent": path.model.pk,
        "config": {"measure": "choices", "limit": 1000},
    }  # fmt: skip
    mine = rita.post("runs/", body, key=f"first-model:{path.pk}:{first_model.SAMPLING}:0")
    assert mine.status_code == 201
    asked = rita.post(where(project, "answers/"), {"completions_per_prompt": 2, "max_new_tokens": 16})
    assert Run.objects.get(pk=asked.json()["runs"]["answers"]).kind == "sample"


def test_thumbs_that_a_program_sends_are_learnt_from_by_kto(project, rita):
    """As docs/guides/first-model.md has it."""
    model = make_weights()
    FirstModel.objects.create(project=project, model=model)
    rows = [make_completion(make_prompt(project), model=model) for _ in range(16)]
    thumbs = [{"project": project.slug, "completion": row.pk, "thumbs": n % 2 == 0} for n, row in enumerate(rows)]
    assert rita.post("ratings/", thumbs).status_code == 201
    assert rita.get(where(project)).json()["proposed"] == "kto"


@pytest.mark.parametrize(
    ("step", "body", "status", "field"),
    [
        ("model/", {}, 400, "source"),
        ("model/", {"source": "models/absent"}, 400, "config.source"),
        ("model/", {"source": "../x"}, 400, "config.source"),
        ("model/", {"source": "https://127.0.0.1:1/v1"}, 400, "served_name"),
        ("model/", {"source": "https://127.0.0.1:1/v1", "served_name": "x"}, 400, "endpoint"),
        ("model/", {"model": 999}, 400, "model"),
        ("model/", {"colour": "red"}, 400, "colour"),
        ("answers/", {}, 409, "model"),
        ("training/", {}, 409, "model"),
        ("training/", {"kind": "rm"}, 400, "kind"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_kept(project, rita, step, body, status, field):
    response = rita.post(where(project, step), body)
    assert response.status_code == status and field in response.json()["errors"]
    assert not Run.objects.exists() and not LanguageModel.objects.exists() and not FirstModel.objects.exists()


def test_an_address_is_registered_once_it_has_answered(project):
    staff = Program(make_user(project, role="manager", is_staff=True))
    with openai_server() as server:
        server.models = ["gpt"]
        body = {"source": server.url, "served_name": "gpt", "key": "sk-secret", "name": "Far"}
        response = staff.post(where(project, "model/"), body)
        assert response.status_code == 201, response.json()
        model = LanguageModel.objects.get()
        assert (model.name, model.endpoint, model.project) == ("Far", server.url, project)
        assert "sk-secret" not in model.sealed_key and len(server.requests) == 1
        server.status = 500
        response = staff.post(where(project, "model/"), body | {"name": "Farther"})
        assert response.status_code == 400 and LanguageModel.objects.count() == 1


def test_a_served_name_that_is_left_out_is_the_only_one_that_the_server_lists(project):
    staff = Program(make_user(project, role="manager", is_staff=True))
    with keyed_api(models=("gpt",)) as server:
        body = {"source": server.url, "key": "sk-wrong"}
        refused = staff.post(where(project, "model/"), body)
        assert refused.status_code == 400 and "does not accept the key" in refused.json()["errors"]["key"]
        server.models = ("gpt", "other")
        body["key"] = server.key
        refused = staff.post(where(project, "model/"), body)
        assert "gpt, other" in refused.json()["errors"]["served_name"] and not LanguageModel.objects.exists()
        refused = staff.post(where(project, "model/"), body | {"source": server.url.removesuffix("/v1")})
        errors = refused.json()["errors"]
        assert "usually ends with /v1" in errors["endpoint"] and "lists no models" in errors["served_name"]
        server.models = ("gpt",)
        assert staff.post(where(project, "model/"), body).status_code == 201
        model = LanguageModel.objects.get()
        assert (model.name, model.served_name, model.endpoint) == ("gpt", "gpt", server.url)


def with_a_reward_model(project: Project, by: User) -> FirstModel:
    """A path whose reward model has come."""
    base, reward = make_weights(), make_weights(kind="reward")
    make_prompt(project)
    run = Run.objects.create(
        project=project, kind="reward", name="r", parent=base, state="succeeded", output_model=reward, created_by=by
    )
    return FirstModel.objects.create(project=project, model=base, reward_run=run)


def test_a_reward_model_is_followed_by_ppo_and_a_refusal_is_kept(project, rita, monkeypatch):
    from evaluation.first_model import training_order

    path = with_a_reward_model(project, rita.user)
    run = path.reward_run
    training_order.go_on_after_reward(run)
    path.refresh_from_db()
    assert path.training_run is not None
    ppo = path.training_run
    base, reward = path.model, run.output_model
    assert (ppo.kind, ppo.parent, ppo.reward_model, ppo.config["at_bound"]) == ("ppo", base, reward, "finish")
    training_order.go_on_after_reward(run)  # told twice, it orders nothing twice
    assert Run.objects.filter(kind="ppo").count() == 1

    path.training_run = None
    path.save()
    ppo.delete()
    reward.retire(reason="it did not beat chance")
    training_order.go_on_after_reward(run)
    path.refresh_from_db()
    assert path.training_run is None and "did not beat chance" in path.problem
    assert rita.get(where(project)).json()["problem"] == path.problem


def test_ppo_follows_a_reward_model_whose_orderer_has_left(project, rita):
    from evaluation.first_model import training_order

    path = with_a_reward_model(project, rita.user)
    run = path.reward_run
    project.memberships.filter(user=rita.user).delete()
    training_order.go_on_after_reward(run)
    path.refresh_from_db()
    assert path.training_run is not None and path.training_run.created_by == rita.user, path.problem


def test_ppo_is_proposed_again_once_twice_as_much_has_been_said(project, rita):
    from evaluation.first_model import facts

    base = make_weights()
    dataset = Dataset.objects.create(project=project, kind="preferences", name="d", counts={"telling": 90})
    run = Run.objects.create(project=project, kind="reward", name="r", parent=base, state="succeeded", dataset=dataset)
    path = FirstModel(project=project, model=base, reward_run=run, problem="It did not beat chance.")
    assert facts.is_reward_refused(path, Annotated(informative=179, prompts_informative=30))
    assert not facts.is_reward_refused(path, Annotated(informative=180, prompts_informative=30))
    path.problem = ""
    assert not facts.is_reward_refused(path, Annotated())
    assert facts.choice_of(path)[1].proposed is None


def test_a_failed_reward_model_is_followed_by_nothing(project, rita):
    from evaluation.first_model import training_order

    run = Run.objects.create(project=project, kind="reward", name="r", state="failed", created_by=rita.user)
    FirstModel.objects.create(project=project, model=make_weights(), reward_run=run)
    training_order.go_on_after_reward(run)
    assert Run.objects.count() == 1 and FirstModel.objects.get().problem == ""


def test_simulations_teach_only_where_no_person_has_annotated(project, rita):
    model = make_weights()
    FirstModel.objects.create(project=project, model=model)
    robot = make_user(project, is_simulated=True)
    for _ in range(20):
        prompt = make_prompt(project)
        make_comparison(make_completion(prompt, model=model), make_completion(prompt, model=model), author=robot)
    assert rita.get(where(project)).json()["proposed"] == "dpo"
    pairs(project, model, 1)
    assert rita.get(where(project)).json()["proposed"] == ""


def test_whoever_is_no_researcher_is_refused(project):
    annotator = Program(make_user(project))
    assert annotator.get(where(project)).status_code == 403
    assert annotator.post(where(project, "model/"), {"model": make_model().pk}).status_code == 403
