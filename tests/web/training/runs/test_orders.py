"""A run as YAML: what goes out comes in again as the same run, and what does not fit is named."""

from __future__ import annotations

import io
from dataclasses import asdict

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.urls import reverse

from annotate.core.errors import Refused
from tests.support.api_client import Program, errors, program
from tests.support.factories import make_project, make_user, sign_in
from tests.support.training.runs import make_dataset, make_weights
from training import configs
from training.core.kinds import KINDS
from training.models import Run
from training.runs.ordering import actions
from training.runs.ordering import order_files as orders

pytestmark = pytest.mark.django_db
CHOICES = ("kind", "parent", "dataset", "other_dataset", "reward_model", "seed", "config")


@pytest.fixture
def researcher(project, client):
    return sign_in(client, project, "researcher")


def queued(project, researcher, **fields) -> Run:
    values = {
        "kind": "ppo",
        "name": "of tides: a run",
        "parent": make_weights(content_hash="ab" * 32),
        "dataset": make_dataset(project),
        "other_dataset": make_dataset(project, kind="sft"),
        "reward_model": make_weights(kind="reward"),
        "config": {"learning_rate": 3e-5, "adam_eps": 1e-8, "kl_target": 4.0},
        "seed": 2**40,
    }
    return actions.queue_run(project=project, by=researcher, **{**values, **fields})


def test_a_run_goes_out_as_yaml_and_comes_in_as_the_same(project, researcher):
    run = queued(project, researcher)
    text = orders.written(run)
    run.state = "failed"
    run.save()
    order = orders.resolve(orders.read(text), project)
    again = actions.queue_run(project=project, by=researcher, **order.arguments)
    assert [getattr(again, name) for name in CHOICES] == [getattr(run, name) for name in CHOICES]
    assert again.name == run.name and order.notes == ()
    assert orders.written(again).splitlines()[1:] == text.splitlines()[1:], "but for the comment with its number"


@pytest.mark.parametrize("kind", [name for name in KINDS if name in configs.CONFIGS])
def test_the_defaults_of_every_kind_survive_the_way_through_yaml(project, kind):
    config = asdict(configs.CONFIGS[kind]())
    run = Run(kind=kind, name="1e5", project=project, config=config, seed=7, code_version="0.1")
    order = orders.read(orders.written(run))
    assert order["config"] == config and order["name"] == "1e5"
    assert [type(value) for value in order["config"].values()] == [type(value) for value in config.values()]


@pytest.mark.parametrize(
    "value",
    [1e-05, 2e-4, 1e22, -1.5e-7, 0.1, 3, True, None, "1e-5", "on", "yes", "null", "0x1f", "a\n\tb", "2026-01-01"],
)
def test_values_that_yaml_is_known_to_confuse_keep_their_type(project, value):
    run = Run(kind="sft", name="n", project=project, config={"x": value})
    read = orders.read(orders.written(run))["config"]["x"]
    assert read == value and type(read) is type(value)


def test_a_learning_rate_is_a_number_as_people_write_it():
    assert orders.read("config: {learning_rate: 2e-4}")["config"]["learning_rate"] == 2e-4


@pytest.mark.parametrize(
    ("text", "field", "told"),
    [
        ("kind: [sft", "yaml", "line 1"),
        ("- sft", "yaml", "as fields"),
        ("kind: sft\nlearning_rate: 1", "learning_rate", "not a field of a run"),
        ("a: &x [1]\nb: *x", "yaml", "Anchors"),
        ("!!python/object/apply:os.system ['true']", "yaml", "not valid YAML"),
        ("x" * 300_000, "yaml", "characters"),
        ("[" * 90_000, "yaml", "levels deep"),  # minutes for PyYAML
        ('name: "a\\0b"', "yaml", "NUL"),
        ('parent: "\\ud800"', "yaml", "surrogate"),
    ],
)
def test_what_is_no_order_is_refused_with_its_place(text, field, told):
    with pytest.raises(Refused) as refused:
        orders.read(text)
    assert told in refused.value.errors[field]


@pytest.mark.parametrize("value", ["a\x00b", "\ud800"])
def test_an_option_that_no_database_could_keep_is_refused_by_name(value):
    with pytest.raises(configs.ConfigError) as raised:
        configs.parse("corpus", {"text_field": value})
    assert "UTF-8" in raised.value.errors["text_field"]
    with pytest.raises(configs.ConfigError) as raised:
        configs.parse("corpus", {"near_threshold": float("inf")})
    assert "must be a number" in raised.value.errors["near_threshold"]


def refusal(text: str, project) -> dict[str, str]:
    with pytest.raises(Refused) as refused:
        orders.resolve(orders.read(text), project)
    return refused.value.errors


def test_a_dataset_of_the_same_name_and_other_content_is_told(project):
    dataset = make_dataset(project)
    found = refusal(f"kind: sample\nname: n\ndataset: {{name: {dataset.name}, hash: {'e' * 64}}}", project)
    assert dataset.content_hash[:12] in found["dataset"] and "eeeeeeeeeeee" in found["dataset"]
    assert "remove the hash" in found["dataset"]


def test_the_same_content_under_another_name_is_taken(project):
    dataset = make_dataset(project)
    order = orders.read(f"kind: sample\nname: n\ndataset: {{name: elsewhere, hash: '{dataset.content_hash}'}}")
    assert orders.resolve(order, project).arguments["dataset"] == dataset


def test_every_name_that_is_not_here_is_told_at_once(project):
    elsewhere = make_dataset(make_project())
    found = refusal(
        f"kind: ppo\nname: 7\nparent: nobody\ndataset: {elsewhere.name}\nreward_model: 3\nconfig: [1]", project
    )
    assert set(found) == {"name", "parent", "dataset", "reward_model", "config"}
    assert "nobody" in found["parent"] and project.name in found["dataset"]


def test_other_code_and_another_project_are_said(project):
    order = orders.read("kind: sample\nname: n\nproject: far\ncode_version: v0.0.1")
    far, code = orders.resolve(order, project).notes
    assert "far" in far and "v0.0.1" in code


def test_the_page_gives_the_file_and_takes_it_again(client, project, researcher):
    run = queued(project, researcher)
    assert (
        reverse("run-yaml", args=[run.pk])
        in client.get(reverse("run", args=[run.pk]), {"tab": "config"}).content.decode()
    )
    file = client.get(reverse("run-yaml", args=[run.pk]))
    assert f'filename="run-{run.pk}.yaml"' in file["Content-Disposition"]
    url = reverse("run-from-file", args=[project.slug])
    upload = SimpleUploadedFile("run.yaml", file.content)
    form = client.post(url, {"file": upload, "open": ""}).context["form"]
    for name in ("parent", "dataset", "other_dataset", "reward_model"):
        assert form[name].value() == getattr(run, f"{name}_id"), name
    assert form["config.learning_rate"].value() == 3e-5 and form["seed"].value() == 2**40
    text = file.content.decode().replace("of tides: a run", "another")
    response = client.post(url, {"yaml": text, "queue": ""})
    assert Run.objects.get(name="another").config == run.config
    assert response.url == reverse("run", args=[Run.objects.get(name="another").pk])


def test_the_form_of_a_file_has_what_its_model_sets(client, project, researcher):
    make_weights(name="terse", max_new_tokens=77)
    url = reverse("run-from-file", args=[project.slug])
    form = client.post(url, {"yaml": "kind: sample\nname: n\nparent: terse", "open": ""}).context["form"]
    assert form["config.max_new_tokens"].value() == 77


def test_the_page_names_what_is_wrong_and_keeps_the_text(client, project, researcher):
    url = reverse("run-from-file", args=[project.slug])
    response = client.post(url, {"yaml": "kind: sample\nname: n\nparent: nobody", "queue": ""})
    assert response.status_code == 400
    text = response.content.decode()
    assert "<code>parent</code>" in text and "name: n\nparent: nobody" in text
    assert client.post(url, {"file": SimpleUploadedFile("x.yaml", b"\xff\xfe"), "open": ""}).status_code == 400
    assert client.post(url, {"yaml": "kind: alchemy\nname: n", "open": ""}).status_code == 400


def test_strangers_get_no_file_of_a_private_run(client):
    private = make_project(is_public=False)
    run = Run.objects.create(kind="sample", name="n", project=private)
    client.force_login(make_user())
    assert client.get(reverse("run-yaml", args=[run.pk])).status_code == 404


def send(program: Program, text: str, **headers: str):
    return program.http.post("/api/v1/runs/from-yaml/", text, content_type="application/yaml", **headers)


def test_a_program_takes_the_file_and_queues_it_elsewhere(project):
    researcher = program(project, "researcher")
    run = queued(project, researcher.user)
    text = researcher.get(f"runs/{run.pk}/order/").content.decode()
    assert text == orders.written(run)
    text = text.replace("of tides: a run", "another")
    first, second = (send(researcher, text, HTTP_IDEMPOTENCY_KEY="k") for _ in range(2))
    assert (first.status_code, second.json()) == (201, first.json())
    assert first.json()["config"] == run.config and Run.objects.count() == 2


def test_a_program_is_told_which_field(project):
    researcher = program(project, "researcher")
    found = errors(send(researcher, f"kind: sample\nname: n\nproject: {project.slug}\nparent: nobody"))
    assert set(found) == {"parent"}
    assert errors(send(researcher, "kind: sample\nname: n\nproject: nowhere"), 404)
    assert "yaml" in errors(
        send(
            researcher,
            "kind: [",
        )
    )
    assert "?project=" in errors(send(researcher, "kind: sample\nname: n"))["project"]
    judge = program(project)
    text = f"kind: sample\nname: n\nproject: {project.slug}\nparent: nobody"
    assert set(errors(send(judge, text), 403)) == {"project"}, "whether there is such a model is not for annotators"


def test_a_command_queues_a_file_with_changes(project, tmp_path):
    boss = make_user(is_superuser=True)
    run = queued(project, boss)
    file = tmp_path / "run.yaml"
    file.write_text(orders.written(run))
    out = io.StringIO()
    call_command("queue_run", str(file), name="another", set=["learning_rate=1e-4", "steps=3"], stdout=out)
    again = Run.objects.get(name="another")
    assert again.config == {**run.config, "learning_rate": 1e-4, "steps": 3} and again.created_by == boss
    assert str(again.pk) in out.getvalue()
    for arguments, told in (
        ({"set": ["steps=0"], "name": "third"}, "config.steps"),
        ({"set": ["steps"]}, "OPTION=VALUE"),
        ({"project": "nowhere"}, "no project 'nowhere'"),
        ({"user": "nobody"}, "no user 'nobody'"),
    ):
        with pytest.raises(CommandError, match=told):
            call_command("queue_run", str(file), **arguments)
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("queue_run", str(tmp_path / "none.yaml"))
