"""Hosts that share no file system: what a web process receives and freezes is stored, and what it lacks is brought."""

from __future__ import annotations

import io
import os
import shutil
from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.utils import timezone

from annotate.core.artefacts import local_copies, storage_checks
from annotate.core.errors import Refused
from annotate.data.datasets.actions import freeze
from annotate.data.imports import engine, kept_files
from annotate.data.imports.actions import Order, start_import
from annotate.models import Dataset, Import
from common.artefacts.storage_problems import Unreachable
from tests.support.factories import make_comparison, make_pair, make_project, make_token, make_user, sign_in
from tests.support.training.runs import make_run, make_weights
from training.configs import CorpusConfig
from training.core import reward_trust
from training.corpora import actions as corpora
from training.models import Run
from training.storage import pruning, reward_evidence, stored_runs

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def storage(settings, tmp_path):
    """A folder that every host reaches."""
    (tmp_path / "storage").mkdir()
    settings.STORAGE = str(tmp_path / "storage")
    return tmp_path / "storage"


@pytest.fixture
def elsewhere(settings):
    """Make this process one of another host: what was on this host's disk is not on that one's."""

    def become() -> None:
        shutil.rmtree(settings.DATA_DIR)
        for folder in (settings.RUNS_DIR, settings.MODELS_DIR, settings.DATASETS_DIR):
            folder.mkdir(parents=True)

    return become


def test_a_dataset_frozen_on_one_host_is_shown_and_downloaded_on_another(client, elsewhere):
    project = make_project()
    researcher = sign_in(client, project, "researcher")
    make_comparison(*make_pair(project))
    dataset = freeze(project=project, kind="preferences", name="first", by=researcher)
    elsewhere()
    assert local_copies.is_available(dataset.path) and not dataset.path.exists()
    page = client.get(f"/datasets/{dataset.pk}/")
    assert page.status_code == 200 and not page.context["is_missing"] and dataset.path.is_dir()


def test_who_sees_no_rows_of_a_dataset_has_none_brought(client, elsewhere):
    project = make_project(is_public=True)
    make_comparison(*make_pair(project))
    dataset = freeze(project=project, kind="preferences", name="first", by=make_user(project, role="researcher"))
    elsewhere()
    page = client.get(f"/datasets/{dataset.pk}/")
    assert page.status_code == 200 and not page.context["is_missing"] and not dataset.path.exists()


def test_nothing_is_frozen_where_it_cannot_be_stored_and_the_page_keeps_the_form(client, storage):
    project = make_project()
    researcher = sign_in(client, project, "researcher")
    make_comparison(*make_pair(project))
    storage.rename(storage.with_name("away"))
    client.raise_request_exception = False
    form = {"kind": "preferences", "name": "first", "side": "train"}
    page = client.post(f"/p/{project.slug}/data/datasets/", form)
    assert page.status_code == 503 and "does not answer" in page.content.decode() and "first" in page.content.decode()
    token = {"Authorization": f"Token {make_token(researcher)}"}
    answer = client.post(
        "/api/v1/datasets/", {"project": project.slug, "kind": "preferences", "name": "first"}, "application/json",
        headers=token,
    )  # fmt: skip
    assert answer.status_code == 503 and "does not answer" in answer.json()["errors"]["storage"]
    assert not Dataset.objects.exists()
    storage.with_name("away").rename(storage)
    assert freeze(project=project, kind="preferences", name="first", by=researcher).path.is_dir()


def test_an_upload_for_corpora_is_listed_and_read_on_another_host_and_never_replaced(elsewhere):
    project = make_project()
    researcher = make_user(project, role="researcher")
    tales = SimpleUploadedFile("tales.txt", b"Once upon a time.")
    corpora.upload(project=project, file=tales, by=researcher)
    elsewhere()
    assert [(file.name, file.bytes, file.is_own) for file in corpora.files(project)] == [("tales.txt", 17, True)]
    with pytest.raises(Refused, match="already a tales"):
        corpora.upload(project=project, file=SimpleUploadedFile("tales.txt", b"Others."), by=researcher)
    assert not corpora.check(project, CorpusConfig(sources="tales.txt"))
    assert (corpora.upload_folder(project) / "tales.txt").read_bytes() == b"Once upon a time."


def test_an_upload_that_cannot_be_stored_is_not_kept(storage):
    project = make_project()
    storage.rename(storage.with_name("away"))
    with pytest.raises(Unreachable):
        corpora._store(_file(corpora.upload_folder(project) / "tales.txt"))
    assert not (corpora.upload_folder(project) / "tales.txt").exists()


def _file(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("Once upon a time.")
    return path


ROWS = b'{"prompt": "Why?", "completion": "Because."}\n{"prompt": "How?", "completion": "So."}\n'


@pytest.mark.django_db(transaction=True)
def test_an_import_received_by_one_host_is_carried_out_by_another(elsewhere, storage):
    project = make_project()
    researcher = make_user(project, role="researcher")
    import_ = start_import(
        project=project, file=io.BytesIO(ROWS), file_name="rows.jsonl", order=Order(format="examples"), by=researcher
    )
    elsewhere()
    storage.rename(storage.with_name("away"))
    worker = engine.Importer()
    worker.do()
    import_.refresh_from_db()
    assert (import_.state, import_.problem) == (Import.State.RUNNING, ""), (
        "a storage that is gone for a while costs no import"
    )
    storage.with_name("away").rename(storage)
    Import.objects.update(claimed_until=None)
    while worker.do():
        pass
    import_.refresh_from_db()
    assert (import_.state, import_.problem) == (Import.State.DONE, "")


def test_the_file_of_an_import_goes_from_the_storage_when_nobody_needs_it(monkeypatch):
    kept = kept_files.keep(io.BytesIO(b"rows"), "rows.txt")
    assert local_copies.store().has(f"imports/{kept.hash}") and kept_files.sweep() == 0
    later = timezone.now() + timedelta(days=8)
    monkeypatch.setattr(kept_files.timezone, "now", lambda: later)
    assert kept_files.sweep() == 1
    assert local_copies.store().files.names("") == []


def test_whether_a_reward_model_is_trusted_is_known_without_its_weights(elsewhere):
    model = make_weights(kind="reward")
    (model.path / "reward.json").write_text('{"held_out": {"beats_chance": false}}')
    (model.path / "weights.bin").write_bytes(b"x" * 1000)
    local_copies.keep(model.path)
    elsewhere()
    assert reward_evidence.of_model(model).refuses and reward_trust.of_folder(model.path).beats_chance is None
    assert not model.path.exists()


def test_the_page_of_a_model_that_is_on_another_host_says_how_large_it_is(client, elsewhere, storage):
    project = make_project()
    sign_in(client, project, "researcher")
    model = make_weights(is_shared=True)
    (model.path / "weights.bin").write_bytes(b"x" * 3_000_000)
    local_copies.keep(model.path)
    elsewhere()
    page = client.get(f"/models/{model.pk}/")
    assert page.status_code == 200 and page.context["size"] == 3_000_002 and not model.path.exists()
    storage.rename(storage.with_name("away"))
    assert client.get(f"/models/{model.pk}/").context["size"] == 0


def test_pruning_lets_checkpoints_go_from_the_storage_too():
    run = make_run(state=Run.State.FAILED)
    for step in (2, 4):
        _file(run.path / "checkpoints" / f"step-{step:06d}" / "state")
    (run.path / "identity").write_text(stored_runs.identity_of(run))
    stored_runs.keep(run, lambda: None)
    pruning.prune(at_once=True)
    name = local_copies.name_of(run.path)
    paths = [entry.path for entry in local_copies.store().manifest(name).entries]
    assert paths == ["checkpoints/step-000004/state", "identity"]
    pruning.prune_last(run)
    assert [entry.path for entry in local_copies.store().manifest(name).entries] == ["identity"]


def test_what_no_row_names_any_more_is_listed_and_forgotten(elsewhere, storage):
    stays, goes = make_weights(folder="models/base"), make_weights(folder="models/gone")
    run = make_run(state=Run.State.SUCCEEDED, parent=stays)
    for name, path in (
        ("runs/000999", goes.path),
        ("inputs/000999-1a", goes.path),
        (f"inputs/{run.path.name}-1a", goes.path),
    ):
        local_copies.store().put(name, path)
    for path in (stays.path, goes.path, _file(run.path / "log.txt").parent):
        local_copies.keep(path)
    goes.delete()
    call_command("store_artefacts", "--unnamed", stdout=(out := io.StringIO()))
    assert out.getvalue() == "", "a row may be about to be written"
    for manifest in (storage / "manifests").rglob("*.json"):
        os.utime(manifest, (0, 0))
    call_command("store_artefacts", "--unnamed", stdout=(out := io.StringIO()))
    assert [line.partition(":")[0] for line in out.getvalue().splitlines()] == [
        "models/gone", "runs/000999", "inputs/000999-1a",
    ]  # fmt: skip
    with pytest.raises(CommandError, match="A row names models/base"):
        call_command("store_artefacts", "--forget", "models/base")
    with pytest.raises(CommandError, match="Name what to forget"):
        call_command("store_artefacts", "--forget")
    call_command("store_artefacts", "--forget", "models/gone", "runs/000999", stdout=io.StringIO())
    assert local_copies.store().names("models") == ["models/base"]
    assert local_copies.store().names("runs") == [local_copies.name_of(run.path)]


def test_a_standing_installation_is_pushed_verified_and_brought(elsewhere, storage, settings):
    settings.STORAGE = ""
    model = make_weights(folder="models/base")
    run = make_run(state=Run.State.SUCCEEDED, parent=model)
    Run.objects.update(started_at=run.created_at)
    _file(run.path / "log.txt")
    settings.STORAGE = str(storage)
    out = io.StringIO()
    with pytest.raises(CommandError, match="3 of them need attention"):
        call_command("store_artefacts", "--verify", stdout=out, stderr=out)
    assert "has no models/base. Push it from the host that has it" in out.getvalue()
    call_command("store_artefacts", stdout=(out := io.StringIO()))
    assert "models/base: stored, 1 files, 2 bytes" in out.getvalue()
    call_command("store_artefacts", "--verify", stdout=(out := io.StringIO()))
    assert "models/base: whole, 1 files, 2 bytes" in out.getvalue()
    blob = local_copies.store().manifest("models/base").entries[0].blob
    (storage / blob).write_text("[]")
    with pytest.raises(CommandError, match="2 of them need attention"):
        call_command("store_artefacts", "--verify", stdout=out, stderr=(told := io.StringIO()))
    # The other model has the same file, and so the same blob.
    assert "models/base" in told.getvalue() and "does not have the hash" in told.getvalue()
    call_command("store_artefacts", "--again", "models/base", stdout=out)
    call_command("store_artefacts", "--verify", stdout=out)
    elsewhere()
    call_command("store_artefacts", "--bring", "models/base", stdout=out)
    assert (model.path / "config.json").read_text() == "{}"
    call_command("store_artefacts", stdout=(out := io.StringIO()))
    assert "not on this host, and stored" in out.getvalue()
    with pytest.raises(CommandError, match="No row names models/none"):
        call_command("store_artefacts", "models/none")


@pytest.mark.parametrize("state", [Run.State.SUCCEEDED, Run.State.FAILED])
def test_what_a_host_has_left_of_a_run_replaces_nothing_of_where_it_went_on(elsewhere, state):
    run = make_run(state=state)
    Run.objects.update(started_at=run.created_at)
    local_copies.keep(run.parent.path)

    def lay(*files):
        for file in files:
            _file(run.path / file)
        (run.path / "identity").write_text(stored_runs.identity_of(run))

    lay(*{"succeeded": ("result.json", "model/weights"), "failed": ("checkpoints/step-000004/state",)}[state])
    stored_runs.keep(run, lambda: None)
    name, store = local_copies.name_of(run.path), local_copies.store()
    there = store.manifest(name)
    elsewhere()
    lay("checkpoints/step-000002/state")
    call_command("store_artefacts", stdout=io.StringIO())
    assert store.manifest(name) == there
    lay("checkpoints/step-000006/state", "result.json")
    call_command("store_artefacts", stdout=io.StringIO())
    assert store.manifest(name).entry("checkpoints/step-000006/state")


def test_check_says_what_is_wrong_with_a_storage(settings, storage):
    assert storage_checks.check_storage() == []
    for address, words in [
        (str(storage / "none"), "does not answer"),
        (str(settings.DATA_DIR / "x"), "lies in ASSAY_DATA"),
        ("nonsense://x", "cannot be opened"),
    ]:
        settings.STORAGE = address
        [error] = storage_checks.check_storage()
        assert words in error.msg and error.hint
    settings.STORAGE = ""
    assert storage_checks.check_storage() == []


def test_a_path_that_leads_out_of_the_data_folder_names_no_artefact(settings, tmp_path):
    assert local_copies.name_of(settings.DATA_DIR / "models" / "a") == "models/a"
    assert local_copies.name_of(settings.DATA_DIR / "models" / ".." / ".." / "a") == ""
    assert local_copies.name_of(tmp_path / "a") == ""
    local_copies.keep(tmp_path / "a")
    local_copies.bring(tmp_path / "a")
    assert local_copies.store().names() == []


def test_without_a_storage_nothing_is_asked_of_one(settings, monkeypatch, elsewhere):
    settings.STORAGE = ""
    monkeypatch.setattr(local_copies, "store", lambda: pytest.fail("there is none"))
    model = make_weights()
    local_copies.keep(model.path)
    local_copies.bring(model.path)
    elsewhere()
    local_copies.bring(model.path)
    local_copies.bring_below(model.path.parent)
    assert local_copies.bring_file(model.path / "x") == model.path / "x"
    assert not local_copies.is_available(model.path) and local_copies.stored_below(model.path) == {}
