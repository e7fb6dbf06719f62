"""manage.py import_model: by a child that may load torch, or from an endpoint; twice is once."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from annotate.language_models import model_keys
from annotate.management.commands import import_model
from annotate.models import LanguageModel
from tests.support import factories, tiny_model
from tests.support.annotate.keyed_api import keyed_api
from tests.support.annotate.openai_server import openai_server
from training.core.bundled_model import LICENCE, NAME, ORIGIN, SOURCE

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("import_model", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def conversions(monkeypatch) -> list[str]:
    """Each conversion that was asked for. The weights are the source's text, so that the same text hashes alike."""
    texts: list[str] = []

    def convert(source: str, folder: Path) -> dict:
        texts.append(source)
        folder.mkdir()
        facts = {"hash": (Path(source) / "weights").read_text(), "parameters": 7, "licence": "mit", "source": source}
        (folder / "origin.json").write_text(json.dumps(facts))
        return facts

    monkeypatch.setattr(import_model, "_convert", convert)
    return texts


@pytest.fixture
def source(tmp_path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "weights").write_text("abc")
    return folder


def test_a_folder_becomes_a_model_that_competes(source, conversions):
    project = factories.make_project(slug="everyday")
    out = run(str(source), "--name", "My Model", "--project", "everyday", "--stage", "SFT")
    model = LanguageModel.objects.get()
    assert (model.name, model.folder, model.licence, model.stage) == ("My Model", "models/my-model", "mit", "SFT")
    assert (model.parameters, model.content_hash) == (7, "abc")
    assert model.path.is_dir() and [p.name for p in model.path.parent.iterdir()] == ["my-model"]
    assert project.contestants.get().model == model
    assert "is imported" in out and "competes" in out


def test_a_reward_model_is_imported_and_enters_no_arena(source, conversions, monkeypatch):
    project = factories.make_project(slug="everyday")
    convert = import_model._convert
    monkeypatch.setattr(import_model, "_convert", lambda *words: convert(*words) | {"model_kind": "reward"})
    out = run(str(source), "--name", "Scores", "--project", "everyday")
    assert LanguageModel.objects.get().kind == "reward" and not project.contestants.exists()
    assert "Scores is imported." in out and "a reward model, and enters no arena" in out


def test_a_model_that_nobody_named_is_called_as_its_folder(source, conversions):
    run(str(source))
    assert LanguageModel.objects.get().name == "source"


def test_the_same_content_again_changes_nothing_and_converts_nothing(source, conversions):
    run(str(source), "--name", "One")
    assert "there already" in run(str(source), "--name", "One")
    assert len(conversions) == 1 and LanguageModel.objects.count() == 1


def test_the_same_weights_from_elsewhere_are_the_same_model(source, conversions, tmp_path):
    run(str(source), "--name", "One")
    (source / "README.md").write_text("new words about it")
    assert "there already" in run(str(source), "--name", "One")
    assert len(conversions) == 2 and LanguageModel.objects.count() == 1


def test_other_content_under_a_taken_name_is_refused_and_leaves_nothing(source, conversions, data_folder):
    run(str(source), "--name", "One")
    (source / "weights").write_text("other")
    with pytest.raises(CommandError, match="another model named One"):
        run(str(source), "--name", "One")
    assert [p.name for p in (data_folder / "models").iterdir()] == ["one"]


def test_what_an_import_left_that_was_cut_off_is_used_again(source, conversions, data_folder):
    left = data_folder / "models" / "one"
    left.mkdir()
    (left / "origin.json").write_text(json.dumps({"hash": "abc"}))
    run(str(source), "--name", "One")
    assert LanguageModel.objects.get().folder == "models/one"


def test_a_folder_of_something_else_is_left_alone(source, conversions, data_folder):
    other = data_folder / "models" / "one"
    other.mkdir()
    run(str(source), "--name", "One")
    assert LanguageModel.objects.get().folder == "models/one-2" and not list(other.iterdir())


def test_a_source_that_is_none_is_said_in_words(data_folder):
    """The real child, which finds out before it loads torch."""
    with pytest.raises(CommandError, match="There is no file or folder nowhere"):
        run("nowhere", "--name", "One")
    assert not LanguageModel.objects.exists() and not list((data_folder / "models").iterdir())


def test_an_endpoint_that_serves_the_name():
    with openai_server() as server:
        server.models = ["served-one"]
        arguments = ("--endpoint", server.url + "/", "--served-name", "served-one", "--name", "Theirs")
        assert "is imported" in run(*arguments)
        assert "there already" in run(*arguments)
    model = LanguageModel.objects.get()
    assert (model.endpoint, model.server_name, model.folder) == (server.url, "served-one", "")


def test_an_endpoint_that_does_not_serve_the_name_says_what_it_lists():
    with openai_server() as server, pytest.raises(CommandError, match=r"does not serve two; it lists served-one"):
        server.models = ["served-one"]
        run("--endpoint", server.url, "--served-name", "two", "--name", "Theirs")
    assert not LanguageModel.objects.exists()


def test_an_endpoint_that_is_not_there(unused_tcp_port):
    with pytest.raises(CommandError, match="cannot be reached"):
        run("--endpoint", f"http://127.0.0.1:{unused_tcp_port}/v1", "--served-name", "x", "--name", "Theirs")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--name", "x"], "either a SOURCE or an --endpoint"),
        (["source", "--endpoint", "http://x/v1", "--name", "x"], "either a SOURCE or an --endpoint"),
        (["--endpoint", "http://x/v1", "--name", "x"], "--served-name"),
        (["source", "--name", "x", "--project", "nowhere"], "no project 'nowhere'"),
    ],
)
def test_what_is_missing_is_named(arguments, words):
    with pytest.raises(CommandError, match=words):
        run(*arguments)


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.usefixtures("forked_programs")
def test_a_folder_is_imported_for_real(tmp_path):
    """By the real child, which loads torch."""
    run(str(tiny_model.make_elsewhere(tmp_path / "tiny")), "--name", "Tiny")
    model = LanguageModel.objects.get()
    assert 100_000 < model.parameters < 200_000 and len(model.content_hash) == 64
    assert (model.path / "model.safetensors").stat().st_size > 2e5
    assert "tiny" in model.origin and str(model.path) not in json.dumps(model.card)


def test_the_bundled_model_is_asked_for_by_its_word_and_has_its_own_origin_and_licence(monkeypatch):
    """Its conversion for real is in tests/recipes (test_real_children)."""
    facts = {"hash": "abc", "parameters": 134_515_008, "licence": LICENCE, "origin": ORIGIN, "source": "model.gguf"}
    monkeypatch.setattr(import_model, "_convert", lambda source, folder: (folder.mkdir(), {SOURCE: facts}[source])[1])
    run("bundled")
    model = LanguageModel.objects.get()
    assert model.name == NAME
    assert (model.parameters, model.licence, model.origin) == (134_515_008, "apache-2.0", ORIGIN)
    assert str(model.path) not in json.dumps(model.card)


def test_an_endpoints_key_comes_from_the_environment(monkeypatch):
    with keyed_api(key="sk-x") as api:
        asked = ("--endpoint", api.url, "--served-name", "small", "--name", "Theirs")
        with pytest.raises(CommandError, match="does not accept the key"):
            run(*asked)
        monkeypatch.setenv("ASSAY_ENDPOINT_KEY", "sk-x")
        assert "is imported" in run(*asked)
    assert model_keys.key_of(LanguageModel.objects.get()) == "sk-x"


def test_a_model_with_a_key_is_shared_only_where_that_is_said(monkeypatch):
    project = factories.make_project(slug="everyday")
    monkeypatch.setenv("ASSAY_ENDPOINT_KEY", "sk-x")
    with keyed_api(key="sk-x") as api:
        asked = ("--endpoint", api.url, "--served-name", "small")
        assert "--shared" in run(*asked, "--name", "Nobody's")
        run(*asked, "--name", "Ours", "--project", "everyday")
        run(*asked, "--name", "Everybody's", "--shared")
    found = {model.name: (model.is_shared, model.project) for model in LanguageModel.objects.all()}
    assert found == {"Nobody's": (False, None), "Ours": (False, project), "Everybody's": (True, None)}
