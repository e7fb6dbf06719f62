"""Weights from elsewhere become a model by a run: what may be named, and what comes of it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import safetensors
from django.conf import settings

from annotate.core.errors import Refused
from annotate.models import AuditEntry, LanguageModel
from common.proxy_variables import PROXIES
from tests.support import tiny_model
from tests.support.factories import make_model, make_project, make_user
from training.core import bundled_model
from training.core.run_directory import RunDirectory, RunSpec
from training.models import Run
from training.recipes import import_run
from training.recipes.common import entry
from training.runs.ordering import weight_sources
from training.runs.ordering.actions import queue_run
from training.runs.queue import outputs, preparation

pytestmark = pytest.mark.django_db


def order(project, source, **config) -> Run:
    by = make_user(project, role="researcher")
    return queue_run(kind="import", name="theirs", project=project, by=by, config={"source": source, **config})


def refusal(project, source) -> str:
    with pytest.raises(Refused) as refused:
        order(project, source)
    return refused.value.errors["config.source"]


def test_a_name_on_the_hub_needs_no_file_here(project):
    run = order(project, "Qwen/Qwen2.5-0.5B-Instruct")
    row = preparation.prepare(run).rows("source")[0]
    assert (row["source"], row["is_on_hub"]) == ("Qwen/Qwen2.5-0.5B-Instruct", True)
    assert weight_sources.variables(run.config) == PROXIES


def test_the_trail_says_what_is_brought_from_a_hub_and_by_whom(project):
    run = order(project, "Qwen/Qwen2.5-0.5B-Instruct")
    line = AuditEntry.objects.get(action="hub.read")
    assert (line.project, line.actor) == (project, run.created_by) and "Qwen/Qwen2.5-0.5B-Instruct" in line.about


def test_what_lies_below_models_is_read_from_there(project):
    (settings.MODELS_DIR / "mine.gguf").write_bytes(b"GGUF")
    run = order(project, "models/mine.gguf")
    assert preparation.prepare(run).rows("source") == [
        {"source": str(settings.MODELS_DIR / "mine.gguf"), "is_on_hub": False}
    ]
    assert weight_sources.variables(run.config) == ()


def test_the_model_that_comes_with_assay_needs_no_hub(project):
    run = order(project, "bundled")
    assert preparation.prepare(run).rows("source") == [{"source": "bundled", "is_on_hub": False}]
    assert weight_sources.variables(run.config) == ()


def test_where_its_wheel_is_missing_the_remedy_is_named(project, monkeypatch):
    monkeypatch.setattr(bundled_model.metadata, "files", lambda name: [])
    assert "--force-reinstall" in refusal(project, "bundled")


def test_the_small_model_is_named_only_where_it_is_installed(project, monkeypatch):
    assert "or write bundled for the small model" in refusal(project, "mine")

    def missing(name: str) -> list:
        raise bundled_model.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(bundled_model.metadata, "files", missing)
    assert "bundled" not in refusal(project, "mine")


@pytest.mark.parametrize("source", ["/etc/passwd", "models/../secret-key", "runs/000001/model", "models", "..", "~/m"])
def test_nothing_else_of_the_machine_is_read(project, source):
    assert "below models/" in refusal(project, source)


def test_a_link_leads_nowhere_else(project, tmp_path):
    (tmp_path / "secret").write_text("x")
    (settings.MODELS_DIR / "link").symlink_to(tmp_path / "secret")
    assert "There is no models/link" in refusal(project, "models/link")
    assert "There is no models/absent" in refusal(project, "models/absent")


def test_another_projects_weights_are_not_there(project):
    (settings.MODELS_DIR / "other").mkdir()
    theirs = make_model(folder="models/other", is_shared=False, project=make_project())
    assert "may use" in refusal(project, "models/other")
    theirs.is_shared = True
    theirs.save()
    assert order(project, "models/other").pk


def test_an_empty_source_says_what_to_name(project):
    assert "owner/model" in refusal(project, " ")


def test_a_folder_becomes_a_model_of_the_runs_project(project):
    tiny_model.make(settings.MODELS_DIR / "tiny")
    run = order(project, "models/tiny", licence="mit")
    directory = preparation.prepare(run)
    assert entry.attempt(import_run.main, directory) == 0, directory.failure()
    assert json.loads((directory.model / "origin.json").read_text())["folder"] == str(directory.model)
    outputs.record(run, outputs.gather(run, directory))
    model = LanguageModel.objects.get(name="theirs")
    assert (model.kind, model.stage, model.licence, model.origin) == ("policy", "base", "mit", "models/tiny")
    assert model.path.is_dir() and model.parameters and model.content_hash
    assert project.contestants.get().model == model


def test_what_a_killed_import_left_is_taken_away_by_the_next(tmp_path):
    tiny_model.make(tmp_path / "tiny")
    run = RunDirectory(tmp_path / "run")
    run.create(RunSpec("import", {"source": "x/y"}), {"source": iter([{"source": str(tmp_path / "tiny")}])})
    (run.begin_model() / "half.safetensors").write_bytes(b"gigabytes")
    assert entry.attempt(import_run.main, run) == 0, run.failure()
    assert not (run.model / "half.safetensors").exists()
    assert [path.name for path in run.path.iterdir() if "partial" in path.name] == []


def test_what_is_no_model_fails_in_words(tmp_path):
    (tmp_path / "notes.txt").write_text("no weights")
    run = RunDirectory(tmp_path / "run")
    run.create(RunSpec("import", {"source": "x/y"}), {"source": iter([{"source": str(tmp_path / "notes.txt")}])})
    assert entry.attempt(import_run.main, run) == 1
    assert run.failure()["code"] == "not_a_model" and not run.model.exists()


def from_hub(path, monkeypatch, folder, sizes=(1,), most_bytes=10**9) -> RunDirectory:
    files = [SimpleNamespace(rfilename=f"{n}.safetensors", size=size) for n, size in enumerate(sizes)]
    files.append(SimpleNamespace(rfilename="pytorch_model.bin", size=10**12))  # is not fetched
    facts = SimpleNamespace(siblings=files, sha="abc")
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda self, name, **_: facts)
    monkeypatch.setattr("huggingface_hub.snapshot_download", folder)
    run = RunDirectory(path)
    source = {"source": "x/y", "is_on_hub": True, "most_bytes": most_bytes}
    run.create(RunSpec("import", {"source": "x/y"}), {"source": iter([source])})
    return run


def test_of_a_hub_only_texts_and_safetensors_are_fetched(tmp_path, monkeypatch):
    tiny_model.make(tmp_path / "snapshot")
    asked = []

    def fetch(name, allow_patterns, **_):
        asked.append((name, allow_patterns))
        return str(tmp_path / "snapshot")

    run = from_hub(tmp_path / "run", monkeypatch, fetch)
    assert entry.attempt(import_run.main, run) == 0 and run.result()["origin"] == "x/y"
    assert asked[0][0] == "x/y" and not {"*.bin", "*.py", "*.pt"} & set(asked[0][1])


def test_an_adapter_of_a_hub_is_refused_for_it_names_any_folder_as_its_base(tmp_path, monkeypatch):
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "adapter_config.json").write_text('{"base_model_name_or_path": "/data/models/theirs"}')
    run = from_hub(tmp_path / "run", monkeypatch, lambda name, **_: str(tmp_path / "snapshot"))
    assert entry.attempt(import_run.main, run) == 1 and run.failure()["code"] == "hub_adapter"


def test_a_hub_that_is_not_reached_is_said(tmp_path, monkeypatch):
    def fetch(name, allow_patterns, **_):
        raise OSError("No route to host")

    run = from_hub(tmp_path / "run", monkeypatch, fetch)
    assert entry.attempt(import_run.main, run) == 1
    assert run.failure()["code"] == "hub" and "No route to host" in run.failure()["message"]


# What a folder names besides itself


def with_shards_at(folder, shard) -> None:
    """Give a model folder an index that names its weights at another place."""
    names = safetensors.safe_open(folder / "model.safetensors", "pt").keys()
    (folder / "model.safetensors").unlink()
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, shard)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("is_absolute", [True, False])
def test_an_index_from_a_hub_names_no_weights_elsewhere(tmp_path, monkeypatch, is_absolute):
    tiny_model.make(tmp_path / "theirs")
    tiny_model.make(tmp_path / "snapshot")
    shard = str(tmp_path / "theirs" / "model.safetensors") if is_absolute else "../theirs/model.safetensors"
    with_shards_at(tmp_path / "snapshot", shard)
    run = from_hub(tmp_path / "run", monkeypatch, lambda name, **_: str(tmp_path / "snapshot"))
    assert entry.attempt(import_run.main, run) == 1 and not run.model.exists()
    assert run.failure()["code"] == "files_elsewhere" and shard in run.failure()["message"]


def test_an_index_further_below_names_no_weights_elsewhere(tmp_path, monkeypatch):
    for name in ("theirs", "snapshot"):
        tiny_model.make(tmp_path / name)
    folder = tmp_path / "snapshot"
    with_shards_at(folder, "../theirs/model.safetensors")
    (folder / "below").mkdir()
    (folder / "model.safetensors.index.json").rename(folder / "below" / "a.safetensors.index.json")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"transformers_weights": "below/a.safetensors.index.json"}))
    run = from_hub(tmp_path / "run", monkeypatch, lambda name, **_: str(folder))
    assert entry.attempt(import_run.main, run) == 1 and not run.model.exists()
    assert run.failure()["code"] == "files_elsewhere"


@pytest.mark.parametrize(
    ("file", "field"),
    [
        ("tokenizer_config.json", "vocab"),
        ("tokenizer_config.json", "init_inputs"),
        ("special_tokens_map.json", "vocab"),
    ],
)
def test_a_tokenizer_from_a_hub_reads_no_file_of_this_machine_as_its_tokens(tmp_path, monkeypatch, file, field):
    (tmp_path / "secret").write_text("[UNK]\n[PAD]\n[SEP]\nPASSWORD=hunter2\n")
    folder, secret = tmp_path / "snapshot", str(tmp_path / "secret")
    tiny_model.make(folder)
    (folder / "tokenizer.json").unlink()
    tokenizer = {"tokenizer_class": "BertTokenizer", "eos_token": "[SEP]", "chat_template": "{{ messages[0].content }}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    given = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
    (folder / file).write_text(json.dumps(given | {field: [secret] if field == "init_inputs" else secret}))
    run = from_hub(tmp_path / "run", monkeypatch, lambda name, **_: str(folder))
    assert entry.attempt(import_run.main, run) == 1, (run.model / "tokenizer.json").read_text()
    assert run.failure()["code"] == "files_elsewhere" and secret in run.failure()["message"]


def test_an_index_of_something_else_and_a_number_of_a_token_keep_no_model_out(tmp_path, monkeypatch):
    folder = tmp_path / "snapshot"
    tiny_model.make(folder)
    (folder / "onnx").mkdir()
    (folder / "onnx" / "words.index.json").write_text("{}")
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token_id": 0}))
    run = from_hub(tmp_path / "run", monkeypatch, lambda name, **_: str(folder))
    assert entry.attempt(import_run.main, run) == 0, run.failure()


def theirs_below_models():
    tiny_model.make(settings.MODELS_DIR / "theirs")
    make_model(folder="models/theirs", is_shared=False, project=make_project())
    return settings.MODELS_DIR / "theirs"


def test_a_link_inside_a_folder_leads_nowhere_else(project, tmp_path):
    theirs, ours = theirs_below_models(), settings.MODELS_DIR / "ours"
    tiny_model.make(ours)
    (ours / "model.safetensors").unlink()
    (ours / "model.safetensors").symlink_to(theirs / "model.safetensors")
    assert "to weights of another project" in refusal(project, "models/ours")
    (tmp_path / "secret").write_text("x")
    (ours / "model.safetensors").unlink()
    (ours / "model.safetensors").symlink_to(tmp_path / "secret")
    assert "outside models/" in refusal(project, "models/ours")


def test_an_adapter_has_its_base_where_its_project_may_read(project, tmp_path):
    theirs, ours = theirs_below_models(), settings.MODELS_DIR / "ours"
    ours.mkdir()
    for base in (theirs, tmp_path / "elsewhere"):
        tiny_model.make(base)
        (ours / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
        assert "belongs to another project" in refusal(project, "models/ours")
    (ours / "base").mkdir()
    (ours / "base" / "config.json").write_text("{}")
    (ours / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "base"}))
    assert order(project, "models/ours").pk


# The operator's token, and how much a hub may send


def test_the_operators_token_reads_only_what_the_operator_names(project, settings):
    settings.HUB_SOURCES = ["us/model", "lab/*"]
    for source, has_token in (("us/model", True), ("lab/gated", True), ("us/private", False), ("labs/x", False)):
        assert ("HF_TOKEN" in weight_sources.variables({"source": source})) is has_token
        assert set(PROXIES) <= set(weight_sources.variables({"source": source}))


@pytest.mark.parametrize("token", ["", "hf_ours"])
def test_a_hub_is_asked_without_a_token_where_none_was_given(tmp_path, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    asked = []

    def fetch(name, **options):
        asked.append(options["token"])
        raise OSError("No route to host")

    entry.attempt(import_run.main, from_hub(tmp_path / "run", monkeypatch, fetch))
    assert asked == [token or False]


def test_no_more_is_fetched_than_the_operator_allows(tmp_path, monkeypatch):
    fetched = []
    run = from_hub(tmp_path / "run", monkeypatch, lambda name, **_: fetched.append(name), sizes=[3, 8], most_bytes=10)
    assert entry.attempt(import_run.main, run) == 1 and not fetched
    assert run.failure()["code"] == "too_large" and "ASSAY_IMPORT_GB" in run.failure()["remedy"]


def test_a_run_is_told_how_much_it_may_fetch(project, settings):
    settings.IMPORT_GB = 2.0
    assert preparation.prepare(order(project, "x/y")).rows("source")[0]["most_bytes"] == 2 * 10**9
