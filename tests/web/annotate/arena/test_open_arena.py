"""manage.py open_arena: from an empty installation to an arena, again without harm, and in words what is wrong."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from annotate.arena.opening.arena_file import ArenaFileError, read
from annotate.language_models import model_keys
from annotate.models import AuditEntry, LanguageModel, Project
from tests.support import factories
from tests.support.annotate.keyed_api import KeyedApi, keyed_api
from tests.support.annotate.openai_server import FakeServer, openai_server


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with openai_server() as fake:
        yield fake


@pytest.fixture
def api() -> Iterator[KeyedApi]:
    with keyed_api() as stub:
        yield stub


class Opening:
    """Runs the command; `out()` is what it printed last, also where it ended with an error."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._out = folder, io.StringIO()

    def __call__(self, text: str, *options: str, name: str = "models.yaml") -> str:
        self._out = io.StringIO()
        (self._folder / name).write_text(text)
        call_command("open_arena", "--models", str(self._folder / name), *options, stdout=self._out)
        return self.out()

    def out(self) -> str:
        return self._out.getvalue()


@pytest.fixture
def opened(tmp_path, settings):
    settings.PRIVATE_ENDPOINTS = ("127.0.0.1",)

    return Opening(tmp_path)


def two(server: FakeServer, more: str = "") -> str:
    return f"""
project: {{name: Our arena, description: Two models}}
models:
  - name: Small
    endpoint: {server.url}
    served_name: qwen
  - name: Large
    endpoint: {server.url}
    temperature: 0.3
{more}"""


@pytest.mark.django_db
def test_nothing_becomes_an_arena(server, opened, client):
    out = opened(two(server))
    project = Project.objects.get()
    assert (project.slug, project.name, project.is_public) == ("our-arena", "Our arena", True)
    assert sorted(c.model.name for c in project.contestants.all()) == ["Large", "Small"]
    small, large = LanguageModel.objects.get(name="Small"), LanguageModel.objects.get(name="Large")
    assert (small.served_name, large.served_name, large.temperature) == ("qwen", "Large", 0.3)
    assert "Small: registered; answered in" in out and "2 models compete. Visitors vote" in out
    assert [request["model"] for request in server.requests] == ["qwen", "Large"]
    assert client.get("/p/our-arena/arena/").status_code == 200


@pytest.mark.django_db
def test_again_changes_nothing_and_then_what_differs(server, opened):
    opened(two(server))
    before = list(LanguageModel.objects.order_by("id").values())
    out = opened(two(server))
    assert "Small: as it was" in out and "Our arena (our-arena): as it was." in out
    assert list(LanguageModel.objects.order_by("id").values()) == before

    more = two(server).replace("0.3", "0.4").replace("Two models", "Three models")
    out = opened(f"{more}  - {{name: Third, endpoint: {server.url}}}\n")
    assert "changed: description." in out and "Large: changed (temperature)" in out and "Third: registered" in out
    assert LanguageModel.objects.get(name="Large").temperature == 0.4
    assert Project.objects.get().description == "Three models"

    LanguageModel.objects.filter(name="Small").update(top_p=0.5)  # set on its page: the file does not name it
    out = opened(f"models: [{{name: Small, endpoint: {server.url}, served_name: qwen}}]", "--project", "our-arena")
    assert LanguageModel.objects.get(name="Small").top_p == 0.5
    assert "Not in the file, and competing as before: Large, Third." in out


@pytest.mark.django_db
def test_a_dry_run_asks_and_writes_nothing(server, opened):
    out = opened(two(server), "--dry-run")
    assert "would be registered; answered in" in out and "Nothing was written." in out
    assert len(server.requests) == 2
    assert not Project.objects.exists() and not LanguageModel.objects.exists()


@pytest.mark.django_db
def test_a_key_comes_from_the_environment_and_is_kept_encrypted(api, opened, monkeypatch):
    text = f"models: [{{name: Large, endpoint: {api.url}, served_name: large, key_from: THEIR_KEY}}]"
    with pytest.raises(CommandError, match=r"Large: key_from: The environment variable THEIR_KEY is empty or not set"):
        opened(text)
    assert not Project.objects.exists()

    monkeypatch.setenv("THEIR_KEY", "sk-wrong")
    with pytest.raises(CommandError, match="1 of 1 models gave no answer: Large"):
        opened(text)
    project, model = Project.objects.get(), LanguageModel.objects.get()
    assert not project.contestants.exists() and model.project == project and not model.is_shared

    monkeypatch.setenv("THEIR_KEY", api.key)
    out = opened(text)
    assert "Large: changed (key); answered in" in out and api.key not in out
    model.refresh_from_db()
    assert model_keys.key_of(model) == api.key and api.key not in json.dumps(
        list(AuditEntry.objects.values()), default=str
    )
    assert project.contestants.get().model == model


@pytest.mark.django_db
def test_each_model_is_told_what_is_wrong_with_it_and_the_others_compete(server, api, opened, monkeypatch):
    monkeypatch.setenv("THEIR_KEY", api.key)
    models = f"""
  - {{name: Unknown, endpoint: {api.url}, served_name: huge, key_from: THEIR_KEY}}
  - {{name: Nowhere, endpoint: "http://127.0.0.1:9/v1"}}
"""
    with pytest.raises(CommandError, match="2 of 4 models gave no answer: Unknown, Nowhere"):
        opened(two(server, models))
    told = opened.out()
    assert "Unknown: registered; no answer, does not compete. The server knows no model of this name" in told
    assert "It offers: small, large." in told
    assert "Nowhere: registered; no answer, does not compete. The address cannot be reached." in told
    assert sorted(c.model.name for c in Project.objects.get().contestants.all()) == ["Large", "Small"]
    assert LanguageModel.objects.count() == 4


@pytest.mark.django_db
def test_what_can_be_checked_is_checked_before_anything_is_written(server, opened):
    text = f"""
models:
  - {{name: Small, endpoint: {server.url}}}
  - {{name: Hot, endpoint: {server.url}, temperature: 9}}
  - {{name: Weights, folder: models/nowhere}}
"""
    with pytest.raises(CommandError) as error:
        opened(text)
    assert "Hot: temperature: Enter a number from" in str(error.value)
    assert "Weights: folder: There is no folder models/nowhere" in str(error.value)
    assert not Project.objects.exists() and not LanguageModel.objects.exists() and not server.requests


@pytest.mark.django_db
def test_a_model_on_this_machine_says_what_lets_it_be_asked(server, opened, settings):
    settings.PRIVATE_ENDPOINTS = ()
    with pytest.raises(CommandError, match="2 of 2 models gave no answer"):
        opened(two(server))
    assert "Allow it by ASSAY_PRIVATE_ENDPOINTS=127.0.0.1, for this command and for the server." in opened.out()


@pytest.mark.django_db
def test_a_named_manager_manages_it(server, opened):
    factories.make_user(username="ada", is_staff=True)
    text = two(server).replace("description: Two models", "guidelines: Prefer the true one., public: false")
    opened(text, "--by", "ada")
    project = Project.objects.get()
    assert project.memberships.get().role == "manager" and not project.is_public
    assert project.guideline.text == "Prefer the true one."
    assert "(our-arena): as it was" in opened(text, "--by", "ada")
    assert "changed: guidelines." in opened(text.replace("true", "kind"), "--by", "ada")
    assert project.guideline.text == "Prefer the kind one."


@pytest.mark.django_db
def test_somebody_who_may_start_no_project_is_refused(server, opened):
    factories.make_user(username="ben")
    with pytest.raises(CommandError, match="staff"):
        opened(two(server), "--by", "ben")
    assert not Project.objects.exists() and not LanguageModel.objects.exists()


@pytest.mark.django_db
def test_a_projects_field_is_checked_before_anything_is_written(server, opened):
    with pytest.raises(CommandError, match=r"project.temperature: .*less than or equal to 2"):
        opened(two(server).replace("description: Two models", "temperature: 9"), "--dry-run")
    assert not Project.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("asked", "slug", "name"),
    [("everyday", "everyday", "Our arena"), ("Everyday questions", "everyday-questions", "Everyday questions")],
)
def test_a_project_that_is_asked_for_by_slug_bears_the_files_name(server, opened, asked, slug, name):
    opened(two(server), "--project", asked)
    project = Project.objects.get()
    assert (project.slug, project.name) == (slug, name)


@pytest.mark.django_db
def test_fastchats_file_of_endpoints_is_read(server, opened):
    entry = {"model_name": "gpt-4o-2024-05-13", "api_base": server.url, "api_type": "openai",
             "api_key": "[Insert API Key]", "anony_only": False, "text-arena": True, "vision-arena": False,
             "recommended_config": {"temperature": 0.7, "top_p": 1.0}}  # fmt: skip
    opened(json.dumps({"gpt-4o": entry}), "--project", "LAN arena", name="endpoints.json")
    model = LanguageModel.objects.get()
    assert (model.name, model.served_name, model.temperature, model.top_p) == ("gpt-4o", "gpt-4o-2024-05-13", 0.7, 1.0)
    assert Project.objects.get().slug == "lan-arena"
    with pytest.raises(CommandError, match=r"gpt-4o.api_key: A key does not belong in a file"):
        opened(json.dumps({"gpt-4o": entry | {"api_key": "sk-real"}}), name="endpoints.json")


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("models:\n  - {name: a, temprature: 1}", "models[1] (a).temprature", "did you mean temperature?"),
        ("models:\n  - {name: a, base_url: x}", "models[1] (a).base_url", "did you mean endpoint?"),
        ("models:\n  - {name: a, max_tokens: 9}", "models[1] (a).max_tokens", "did you mean max_new_tokens?"),
        ("models:\n  - {name: a, key: sk-1}", "models[1] (a).key", "key_from: EXAMPLE_KEY"),
        ("models:\n  - {name: a, api_key: sk-1}", "models[1] (a).api_key", "key_from: EXAMPLE_KEY"),
        ("models:\n  - {name: a, concurrency: many}", "models[1] (a).concurrency", "enter a whole number"),
        ("models:\n  - {endpoint: x}", "models[1].name", "Give each model a name"),
        ("models:\n  - a", "models[1]", "Give fields"),
        ("models: []", "models", "at least one model"),
        ("models: [{name: a}, {name: a}]", "models: a", "stands there 2 times"),
        ("project: {publc: true}\nmodels: [{name: a}]", "project.publc", "did you mean public?"),
        ("modles: [{name: a}]", "file", "Give models"),
        ("models: [{name: a}]\nprojct: {}", "projct", "did you mean project?"),
        ("models: [", "file", "This is not YAML: line 1"),
        ("models:\n  - name: a\n    name: b", "file", "name is there twice"),
        ("a: &x 1\nmodels: *x", "file", "Anchors"),
        ("", "file", "Give models"),
    ],
)
def test_a_wrong_file_is_told_by_place_and_remedy(text, place, reason):
    with pytest.raises(ArenaFileError) as error:
        read(text)
    assert reason in error.value.errors[place]


@pytest.mark.django_db
def test_the_share_of_questions_that_rank_is_said_and_can_be_given(server, opened):
    assert "25 % of what visitors ask ranks the models" in opened(two(server))
    assert "90 % of what visitors ask" in opened(two(server).replace("description: Two models", "eval_percent: 90"))
    assert Project.objects.get().eval_percent == 90


@pytest.mark.django_db
def test_a_database_without_tables_says_how_to_make_them(server, opened, monkeypatch):
    monkeypatch.setattr(connection.introspection, "table_names", lambda *_: [])
    with pytest.raises(CommandError, match=r"The database has no tables yet.*manage.py migrate"):
        opened(two(server))


@pytest.mark.django_db
def test_a_model_behind_an_address_is_external_unless_the_file_says_its_stage(server, opened):
    opened(two(server))
    assert set(LanguageModel.objects.values_list("stage", flat=True)) == {"external"}
