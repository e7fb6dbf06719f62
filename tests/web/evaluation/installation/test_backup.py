"""`manage.py backup` and `restore`: whole or not at all, each file once, and back with `verify` clean."""

from __future__ import annotations

import json
import shutil
import signal
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from annotate.models import Dataset, LanguageModel, Rating
from common.artefacts.artefact_store import ArtefactStore
from common.artefacts.manifests import Manifest
from common.artefacts.storage_problems import Unstable
from evaluation.installation.backup import backing_up, backup_archive, database_copy, restoring
from tests.support.factories import make_completion, make_prompt, make_rating
from tests.support.s3_server import BUCKET, s3_server
from training.models import Run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("client_programs")]


@pytest.fixture
def target(tmp_path):
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


@pytest.fixture
def archive(target):
    return backup_archive.open_archive(str(target))


@pytest.fixture
def elsewhere(settings, tmp_path, monkeypatch):
    """Let this process restore files into an empty ASSAY_DATA; the rows are another test's."""

    def become():
        settings.DATA_DIR = tmp_path / "elsewhere"
        settings.DATA_DIR.mkdir()
        monkeypatch.setattr(database_copy, "is_empty", lambda: True)
        monkeypatch.setattr(database_copy, "bring_back", lambda copy: None)
        return settings.DATA_DIR

    return become


def files_below(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_on_an_empty_machine_all_of_it_is_back(installation, target, tmp_path, manage, empty_database, capsys):
    call_command("backup", str(target))
    assert "rows" in capsys.readouterr().out
    data = tmp_path / "new machine"
    data.mkdir()
    done = manage("restore", str(target), data=data, database=empty_database)
    assert (done.returncode, [line for line in done.stderr.splitlines() if line[0] != "…"]) == (0, [])
    assert " is back: " in done.stdout and done.stdout.endswith("Rows, files and counts agree.\n")
    assert (data / installation.dataset.path.relative_to(django_settings.DATA_DIR) / "prompts.jsonl").is_file()
    again = manage("restore", str(target), data=data, database=empty_database)
    assert again.returncode == 1 and "The database has tables: restore into an empty one" in again.stderr
    made = manage(data=data, database=empty_database, code=INSERT)
    assert made.returncode == 0, made.stderr  # numbers go on above those that are there


INSERT = """
import os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
django.setup()
from annotate.models import Project
before = set(Project.objects.values_list("pk", flat=True))
assert before and Project.objects.create(slug="one-more", name="One more").pk not in before
"""


def test_what_the_target_has_is_not_copied_again_and_old_ones_go(installation, target, archive, capsys):
    call_command("backup", str(target))
    blobs = files_below(target / "blobs")
    Dataset.objects.update(name="renamed")
    call_command("backup", str(target))
    assert len(backup_archive.names(archive)) == 2
    assert len(files_below(target / "blobs") - blobs) in (1, 2)  # the database, and the time where it is another second
    call_command("backup", str(target), keep=1)
    assert len(backup_archive.names(archive)) == 1
    manifest = backup_archive.manifest_of(archive)
    assert files_below(target / "blobs") == {entry.blob.removeprefix("blobs/") for entry in manifest.entries}
    capsys.readouterr()
    call_command("backup", str(target), verify=True)
    assert capsys.readouterr().out.count(", whole") == 1


KILLED = """
import os, signal, sys, django
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
django.setup()
from django.core.management import call_command
from common.artefacts.artefact_store import ArtefactStore
ArtefactStore.write = lambda *a: os.kill(os.getpid(), signal.SIGKILL)
call_command("backup", {target!r})
"""


@pytest.mark.slow
def test_one_that_was_killed_is_none_and_the_next_takes_over_its_files(
    installation, target, archive, manage, data_folder
):
    killed = manage(data=data_folder, code=KILLED.format(target=str(target)))
    assert killed.returncode == -signal.SIGKILL
    left = files_below(target / "blobs")
    assert left and backup_archive.names(archive) == []
    with pytest.raises(CommandError, match="holds no whole backup"):
        call_command("restore", str(target))
    call_command("backup", str(target), keep=1)
    manifest = backup_archive.manifest_of(archive)
    assert left & {entry.blob.removeprefix("blobs/") for entry in manifest.entries}


def test_who_writes_meanwhile_neither_waits_nor_is_half_in(installation, target, archive, tmp_path):
    prompt = make_prompt(installation.project)
    answer = make_completion(prompt)
    begun, finish = threading.Event(), threading.Event()

    def write() -> None:
        try:
            with transaction.atomic():
                make_rating(answer)
                begun.set()
                assert finish.wait(60)
        finally:
            connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    assert begun.wait(60)
    call_command("backup", str(target))
    finish.set()
    writer.join()
    about = backup_archive.about_of(archive, backup_archive.manifest_of(archive), tmp_path)
    assert about.rows["annotate_rating"] == Rating.objects.count() - 1


@pytest.mark.parametrize("state", ["running", "succeeded"])
def test_a_run_that_began_meanwhile_and_changes_too_fast_is_for_the_next_one(
    installation, archive, tmp_path, monkeypatch, state
):
    run = Run.objects.create(kind="sft", name="meanwhile", project=installation.project, state="paused")
    run.path.mkdir(parents=True)
    original = ArtefactStore.put_part

    def put_part(self, place, path, rules=None):
        if path != run.path:
            return original(self, place, path, rules)
        Run.objects.filter(pk=run.pk).update(state=state)
        run.attempts.create(
            number=1, lease_expires_at=timezone.now(), worker="w", launcher="l", ended_at=timezone.now()
        )
        raise Unstable(place, "log.txt changed")

    monkeypatch.setattr(ArtefactStore, "put_part", put_part)
    made = backing_up.back_up(archive, lambda text: None)
    assert [Path(place).name for place in made.about.unstable] == [run.path.name] and len(archive.names("backups")) == 1


def test_no_secret_is_in_it(installation, target, archive, data_folder):
    for name in ("secret-key", "accounts.json"):
        (data_folder / name).write_text("do not tell")
    call_command("backup", str(target))
    assert not [path for path in target.rglob("*") if path.is_file() and b"do not tell" in path.read_bytes()]
    assert {path.stat().st_mode & 0o077 for path in target.rglob("*") if path.is_file()} == {0}


def test_what_is_in_the_storage_is_not_copied(installation, target, archive, settings, tmp_path):
    (tmp_path / "storage").mkdir()
    settings.STORAGE = str(tmp_path / "storage")
    call_command("store_artefacts")
    call_command("backup", str(target))
    manifest = backup_archive.manifest_of(archive)
    assert not manifest.below("data") and len(manifest.entries) == 2
    with pytest.raises(CommandError, match="is ASSAY_STORAGE itself"):
        call_command("backup", settings.STORAGE)


def test_what_rows_name_and_is_not_there_is_told(installation, target, capsys):
    shutil.rmtree(installation.model.path)
    call_command("backup", str(target))
    assert f"{installation.model.folder} is named by a row and was not there" in capsys.readouterr().err


def test_what_lies_there_and_is_not_taken_is_told_but_for_what_is_ours(installation, target, data_folder, capsys):
    for name in ("tensorboard", "wandb", "notes"):
        (data_folder / name).mkdir()
    call_command("backup", str(target))
    assert [line for line in capsys.readouterr().err.splitlines() if "nothing of ours" in line] == [
        "notes in ASSAY_DATA is nothing of ours, and not in the backup."
    ]


def test_damaged_files_are_refused_and_it_goes_on_when_they_are_whole(installation, target, archive, elsewhere):
    call_command("backup", str(target))
    manifest = backup_archive.manifest_of(archive)
    (entry,) = manifest.below(f"data/datasets/{installation.dataset.content_hash}")
    blob = target / entry.blob
    whole = blob.read_bytes()
    blob.chmod(0o600)
    blob.write_bytes(whole[:-1] + b"x")
    with pytest.raises(CommandError, match="damaged"):
        call_command("backup", str(target), verify=True)
    data = elsewhere()
    with pytest.raises(CommandError, match="does not have the hash that it was stored with"):
        call_command("restore", str(target))
    assert not (data / "datasets" / installation.dataset.content_hash).exists()
    blob.write_bytes(whole)
    restoring.restore(archive, manifest, lambda text: None)
    expected = {entry.path.removeprefix("data/") for entry in manifest.below("data")}
    assert files_below(data) == expected


def test_an_installation_that_stands_is_left_alone(installation, target, archive, elsewhere, monkeypatch):
    call_command("backup", str(target))
    (elsewhere() / "models" / "mine").mkdir(parents=True)
    with pytest.raises(CommandError, match="holds files: restore into an empty ASSAY_DATA"):
        call_command("restore", str(target))
    monkeypatch.setattr(database_copy, "is_empty", lambda: False)
    with pytest.raises(CommandError, match="The database has tables"):
        call_command("restore", str(target))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"database": "oracle"}, "The backup is of oracle"),
        ({"migrations": ["annotate.9999_later"]}, "made by a later version, with annotate.9999_later"),
    ],
)
def test_a_backup_of_another_kind_is_refused(change, message, installation, target, archive, elsewhere, tmp_path):
    call_command("backup", str(target))
    manifest = backup_archive.manifest_of(archive)
    about = backup_archive.about_of(archive, manifest, tmp_path)
    (tmp_path / "backup.json").write_text(json.dumps({**about.__dict__, **change}))
    others = [entry for entry in manifest.entries if entry.path != "backup.json"]
    entries = (*others, *archive.put_part("backup.json", tmp_path / "backup.json"))
    archive.write(Manifest(backup_archive.new_name(), entries))
    elsewhere()
    with pytest.raises(CommandError, match=message):
        call_command("restore", str(target))


def test_one_folder_comes_back_into_an_installation_that_stands(installation, target, capsys):
    call_command("backup", str(target))
    with pytest.raises(CommandError, match="is there: move it away"):
        call_command("restore", str(target), only=installation.model.folder)
    shutil.rmtree(installation.model.path)
    call_command("restore", str(target), only=installation.model.folder)
    shutil.rmtree(installation.checkpoint.parent)
    place = f"runs/{installation.run.pk:06d}/checkpoints/step-000002"
    call_command("restore", str(target), only=place)
    call_command("verify")
    with pytest.raises(CommandError, match="has no"):
        call_command("restore", str(target), only="models/never-there")


def test_files_alone_come_back_to_rows_that_are_back_already(installation, target, elsewhere, monkeypatch, capsys):
    """As after Postgres' own archive: rows of after the backup stay, and what they name is told."""
    call_command("backup", str(target))
    make_rating(make_completion(make_prompt(installation.project), model=installation.model))
    before = files_below(django_settings.DATA_DIR)
    data = elsewhere()
    with pytest.raises(CommandError, match="The database is empty: bring it back first"):
        call_command("restore", str(target), files=True)
    monkeypatch.setattr(database_copy, "is_empty", lambda: False)
    ratings = Rating.objects.count()
    call_command("restore", str(target), files=True)
    assert "files, made at" in capsys.readouterr().out
    assert files_below(data) <= before and "datasets" in {path.split("/")[0] for path in files_below(data)}
    assert Rating.objects.count() == ratings
    with pytest.raises(CommandError, match="holds files"):
        call_command("restore", str(target), files=True)


@pytest.mark.parametrize("place", ["not mounted", "assay-data/backups"])
def test_a_target_that_is_not_there_or_dies_with_the_rest_is_refused(place, installation, tmp_path):
    with pytest.raises(CommandError, match=r"is not there|lies in ASSAY_DATA"):
        call_command("backup", str(tmp_path / place))


def test_without_the_client_programs_nothing_is_begun(installation, target, monkeypatch):
    monkeypatch.setattr(database_copy.connection, "vendor", "postgresql", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CommandError, match="pg_dump is not installed, or not in PATH: install"):
        call_command("backup", str(target))
    assert not files_below(target)


@pytest.mark.slow
def test_an_object_store_is_as_good_as_a_folder(installation, elsewhere, monkeypatch, capsys):
    with s3_server() as server:
        for name, value in server.variables.items():
            monkeypatch.setenv(name, value)
        address = f"s3://{BUCKET}/backups-of-ours"
        call_command("backup", address)
        call_command("backup", address, keep=1)
        call_command("backup", address, verify=True)
        assert capsys.readouterr().out.count(", whole") == 1
        data = elsewhere()
        archive = backup_archive.open_archive(address)
        restoring.restore(archive, backup_archive.manifest_of(archive), lambda text: None)
        assert (data / "datasets" / installation.dataset.content_hash / "prompts.jsonl").is_file()


def test_the_backup_just_made_is_kept_although_the_clock_was_set_back(installation, target, archive, monkeypatch):
    named = backup_archive.new_name
    with monkeypatch.context() as patched:
        patched.setattr(backup_archive, "new_name", lambda now: named(now + timedelta(days=1)))
        call_command("backup", str(target))
    [ahead] = backup_archive.names(archive)
    call_command("backup", str(target), keep=2)
    call_command("backup", str(target), keep=1)
    [kept] = backup_archive.names(archive)
    assert kept < ahead


def test_files_that_a_backup_under_way_relies_on_do_not_go(installation, target, archive, data_folder, monkeypatch):
    file = data_folder / "imports" / "rows"
    file.parent.mkdir(exist_ok=True)
    file.write_text("in an old backup, and again in the one under way")
    call_command("backup", str(target))
    file.unlink()
    call_command("backup", str(target))
    file.write_text("in an old backup, and again in the one under way")
    original = ArtefactStore.put_part

    def put_part(self, place, path, rules=None):
        entries = original(self, place, path, rules)
        if path == file:
            with pytest.raises(CommandError, match="Another backup"):
                backup_archive.drop_old(archive, 1, "")
        return entries

    monkeypatch.setattr(ArtefactStore, "put_part", put_part)
    call_command("backup", str(target))
    call_command("backup", str(target), verify=True)


def test_what_its_rows_name_is_missed_and_not_what_came_since(installation, archive, monkeypatch):
    original = ArtefactStore.put_part

    def put_part(self, place, path, rules=None):
        if place.startswith("data/datasets/"):  # the first of the files
            fields = {"project": installation.project, "kind": "prompts", "side": "train"}
            Dataset.objects.get_or_create(name="frozen since", content_hash="e" * 64, defaults=fields)
            shutil.rmtree(installation.model.path, ignore_errors=True)
            LanguageModel.objects.filter(pk=installation.model.pk).update(folder="")
        return original(self, place, path, rules)

    monkeypatch.setattr(ArtefactStore, "put_part", put_part)
    assert backing_up.back_up(archive, lambda text: None).about.missing == [installation.model.folder]


def test_what_one_that_was_killed_left_in_the_temporary_folder_goes_with_the_next(
    installation, target, tmp_path, monkeypatch
):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(backing_up.tempfile, "tempdir", str(tmp_path / "tmp"))
    copy_to, folders = database_copy.copy_to, []

    def noted(path):
        folders.append(path.parent)
        return copy_to(path)

    monkeypatch.setattr(backing_up.database_copy, "copy_to", noted)
    call_command("backup", str(target))
    others = tmp_path / "tmp/assay-backup-0123456789ab-of-another-installation"
    for folder in (folders[0], others):
        folder.mkdir()
        (folder / "database.sqlite3").write_text("half")
    call_command("backup", str(target))
    assert not folders[0].exists() and not folders[1].exists() and others.exists()
