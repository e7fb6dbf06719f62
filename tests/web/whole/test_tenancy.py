"""A project's models are its own until it shares them: nobody else lists, reads, uses or takes them."""

from __future__ import annotations

import importlib

import pytest
from django.apps import apps
from django.core.management import call_command
from django.urls import reverse

from annotate.core.errors import Refused
from annotate.core.permissions import models_seen
from annotate.language_models import actions as language_models
from annotate.models import AuditEntry, LanguageModel, Project
from tests.support.api_client import Program, errors
from tests.support.factories import make_model, make_project, make_prompt, make_user
from tests.support.training.runs import make_run
from training.core.kinds import KINDS
from training.runs.ordering import actions
from training.runs.ordering import order_files as orders
from training.runs.present.run_form import RunForm

pytestmark = pytest.mark.django_db


@pytest.fixture
def mine() -> Project:
    return make_project(is_public=False)


@pytest.fixture
def theirs() -> Project:
    return make_project(is_public=False)


@pytest.fixture
def rita(mine):
    return make_user(mine, role="researcher")


@pytest.fixture
def secret(theirs) -> LanguageModel:
    """A policy that a run of the other project has made."""
    model = make_model(is_shared=False)
    make_run(theirs, name="theirs", state="succeeded", output_model=model)
    return model


@pytest.fixture
def reward(theirs) -> LanguageModel:
    model = make_model(is_shared=False, kind="reward")
    make_run(theirs, name="reward", state="succeeded", output_model=model)
    return model


def test_a_private_project_s_model_is_neither_listed_nor_read(rita, mine, secret, client):
    program = Program(rita)
    assert secret.pk not in [row["id"] for row in program.get("models/").json()["results"]]
    for path in ("", "card/", "serving/", "tax/"):
        assert errors(program.get(f"models/{secret.pk}/{path}"), 404)
    client.force_login(rita)
    for name in ("model", "model-card", "lineage", "playground", "model-serving", "tax"):
        assert client.get(reverse(name, args=[secret.pk])).status_code == 404, name
    assert secret.name not in client.get(reverse("models", args=[mine.slug]) + "?everywhere=1").content.decode()


def test_the_lineage_of_what_a_private_project_only_registered_is_not_read(rita, mine, theirs, client):
    """No run and no arena has it yet: nothing but its registration ties it to the project."""
    ours, secret = make_model(is_shared=False, project=mine), make_model(is_shared=False, project=theirs)
    ownerless = make_model(is_shared=False)
    client.force_login(rita)
    statuses = {
        (name, model.pk): client.get(reverse(name, args=[model.pk])).status_code
        for name in ("model", "lineage")
        for model in (ours, secret, ownerless)
    }
    assert {key for key, status in statuses.items() if status == 200} == {("model", ours.pk), ("lineage", ours.pk)}


def test_no_run_starts_from_it_or_is_rewarded_by_it(rita, mine, secret, reward):
    program, base = Program(rita), make_model()
    for kind, field, pk in (("sft", "parent", secret.pk), ("ppo", "reward_model", reward.pk)):
        sent = {"kind": kind, "project": mine.slug, "name": "mine", "parent": base.pk, field: pk}
        assert "that you may see" in errors(program.post("runs/", sent))[field]
    with pytest.raises(Refused) as refused:
        actions.queue_run(kind="export", project=mine, name="out", by=rita, parent=secret)
    assert "cannot use" in refused.value.errors["parent"] and secret.name not in str(refused.value)
    with pytest.raises(Refused, match="There is no 'model-"):
        orders.resolve({"kind": "export", "name": "out", "parent": secret.name}, mine)
    evaluation = {"project": mine.slug, "models": [secret.pk], "name": "e", "config": {"measure": "choices"}}
    assert "models" in errors(program.post("evaluations/alike/", evaluation))


def test_forms_offer_only_what_the_project_may_use(rita, mine, theirs, secret, reward):
    base = make_model()
    form, other = (RunForm(kind=KINDS["ppo"], project=project) for project in (mine, theirs))
    offered = set(form.fields["parent"].queryset)
    assert base in offered and secret not in offered and reward not in form.fields["reward_model"].queryset
    assert secret in other.fields["parent"].queryset and reward in other.fields["reward_model"].queryset


def test_it_enters_no_arena_and_no_completion_is_said_to_be_its(rita, mine, secret, client):
    with pytest.raises(Refused) as refused:
        language_models.enter_arena(project=mine, model=secret, by=rita)
    assert refused.value.status == 404
    assert errors(Program(rita).post(f"models/{secret.pk}/enter/", {"project": mine.slug}), 404)
    client.force_login(rita)
    assert client.post(reverse("arena-entry", args=[mine.slug, secret.pk])).status_code == 404
    row = {"prompt": make_prompt(mine).pk, "text": "An answer.", "model": secret.pk}
    assert "model" in str(errors(Program(rita).post("completions/", row)))


def test_shared_it_is_everybody_s_and_the_trail_says_who_did_it(rita, mine, theirs, secret, client):
    boss = make_user(theirs, role="manager")
    assert errors(Program(rita).post(f"models/{secret.pk}/share/", {"shared": True}), 404)
    researcher = make_user(theirs, role="researcher")
    assert errors(Program(researcher).post(f"models/{secret.pk}/share/", {"shared": True}), 403)
    assert Program(boss).post(f"models/{secret.pk}/share/", {"shared": True}).json()["is_shared"] is True
    assert Program(rita).get(f"models/{secret.pk}/").status_code == 200
    client.force_login(rita)
    assert client.get(reverse("playground", args=[secret.pk])).status_code == 200
    assert LanguageModel.objects.usable_in(mine).filter(pk=secret.pk).exists()
    client.force_login(boss)
    client.post(reverse("model-share", args=[secret.pk]), {"do": "stop"})
    assert Program(rita).get(f"models/{secret.pk}/").status_code == 404
    trail = AuditEntry.objects.filter(project=theirs, action__startswith="model.").values_list("action", "actor")
    assert list(trail) == [("model.unshared", boss.pk), ("model.shared", boss.pk)]


def test_a_reward_model_among_several_stays_open_to_who_used_it(mine, reward):
    assert reward not in LanguageModel.objects.usable_in(mine)
    make_run(mine, name="several").other_reward_models.add(reward)
    assert reward in LanguageModel.objects.usable_in(mine)


def test_what_a_researcher_registers_is_of_their_project_and_what_staff_register_is_everybody_s(rita, mine, theirs):
    far = {"endpoint": "https://93.184.215.14/v1", "served_name": "x"}
    made = Program(rita).post("models/", {"name": "far", **far}).json()
    assert made["is_shared"] is False and LanguageModel.objects.get(pk=made["id"]).project == mine
    other = make_user(theirs, role="researcher")
    assert LanguageModel.objects.get(pk=made["id"]) not in models_seen(other)
    assert errors(Program(other).post("models/", {"name": "far", **far}), 409)["name"]  # not handed over by its name
    assert Program(make_user(is_staff=True)).post("models/", {"name": "base", **far}).json()["is_shared"] is True
    both = make_user(mine, role="researcher")
    theirs.memberships.create(user=both, role="researcher")
    assert "project" in errors(Program(both).post("models/", {"name": "which", **far}))
    assert errors(Program(rita).post("models/", {"name": "which", "project": theirs.slug, **far}), 404)


@pytest.mark.parametrize("spelling", ["{folder}", "./{folder}/", "models//own/../{name}", "{folder}/deeper"])
def test_no_folder_of_another_project_s_model_is_registered_anew(rita, theirs, settings, tmp_path, spelling):
    settings.DATA_DIR = tmp_path
    held = make_model(is_shared=False, project=theirs)
    (tmp_path / held.folder / "deeper").mkdir(parents=True)
    (tmp_path / "models/own").mkdir()
    folder = spelling.format(folder=held.folder, name=held.folder.removeprefix("models/"))
    assert errors(Program(rita).post("models/", {"name": "copy", "folder": folder}))["folder"]
    assert not LanguageModel.objects.filter(name="copy").exists()


@pytest.mark.parametrize("host", ["127.0.0.1:8001", "localhost:8001", "[::ffff:127.0.0.1]:8001"])
def test_nobody_has_the_site_s_own_server_answer_by_a_name_of_their_choice(rita, secret, settings, tmp_path, host):
    """`transformers serve` loads whatever folder it is asked for by name: also that of another project's model."""
    settings.MODEL_SERVER_URL, settings.DATA_DIR = "http://127.0.0.1:8001/v1", tmp_path
    settings.PRIVATE_ENDPOINTS = ("localhost", "127.0.0.0/8")
    (tmp_path / "models/own").mkdir(parents=True)
    there = {"name": "copy", "served_name": secret.server_name}
    program, staff = Program(rita), Program(make_user(is_staff=True))
    assert "folder" in errors(program.post("models/", {**there, "endpoint": f"http://{host}/v1"}), 403)["endpoint"]
    assert errors(program.post("models/", {**there, "folder": "models/own"}), 403)["served_name"]
    assert not LanguageModel.objects.filter(name="copy").exists()
    assert program.post("models/", {"name": "own", "folder": "models/own"}).status_code == 201
    assert staff.post("models/", {**there, "endpoint": f"http://{host}/v1"}).status_code == 201


def test_only_staff_retire_or_share_what_the_operator_registered(mine, theirs):
    base, boss = make_model(), make_user(mine, role="manager")
    language_models.enter_arena(project=mine, model=base, by=boss)
    for act in (
        lambda: language_models.retire(model=base, reason="old", by=boss),
        lambda: language_models.share(model=base, by=boss, shared=False),
    ):
        with pytest.raises(Refused) as refused:
            act()
        assert refused.value.status == 403


def test_projects_are_private_unless_made_public(client):
    staff = make_user(is_staff=True)
    made = Program(staff).post("projects/", {"slug": "new", "name": "New"}).json()
    assert made["is_public"] is False and Program().get("leaderboard/", project="new").status_code == 404
    client.force_login(staff)
    assert client.post(reverse("new-project"), {"name": "Quiet", "asks_ratings": "on"}).status_code == 302
    assert Project.objects.get(name="Quiet").is_public is False


def checkpoint(project, name: str):
    run = make_run(project, state="succeeded", name=name)
    (run.path / "checkpoints" / "step-1").mkdir(parents=True)
    (run.path / "checkpoints" / "step-1" / "weights").write_bytes(b"x" * 9000)
    return run.path / "checkpoints" / "step-1"


@pytest.mark.parametrize("by_page", [True, False])
def test_pruning_by_the_rule_lets_other_projects_checkpoints_be(rita, mine, theirs, client, by_page):
    own, other = checkpoint(mine, "a"), checkpoint(theirs, "b")
    client.force_login(rita)
    seen = Program(rita).get("disk/", project=mine.slug).json()["prunable"]
    assert 0 < seen < 2 * 9000
    if by_page:
        client.post(reverse("prune", args=[mine.slug]))
    else:
        Program(rita).post("disk/prune/", {"project": mine.slug})
    assert not own.exists() and other.exists()


def test_pruning_by_command_is_on_each_project_s_trail(mine, theirs):
    checkpoint(mine, "a")
    checkpoint(theirs, "b")
    call_command("prune_checkpoints", "--dry-run")
    assert not AuditEntry.objects.filter(action="checkpoints.pruned").exists()
    call_command("prune_checkpoints", "--at-once")
    rows = AuditEntry.objects.filter(action="checkpoints.pruned").values_list("project", "actor")
    assert set(rows) == {(mine.pk, None), (theirs.pk, None)}


def test_models_of_before_are_placed(mine, rita, secret):
    base, registered = make_model(is_shared=False), make_model(is_shared=False, created_by=rita)
    importlib.import_module("training.migrations.0006_share_registered_models").place_registered(apps, None)
    for model in (base, registered, secret):
        model.refresh_from_db()
    assert (base.is_shared, base.project) == (True, None)
    assert (registered.is_shared, registered.project) == (False, mine)
    assert (secret.is_shared, secret.project) == (False, None)
