"""`manage.py verify`: silent about what is whole, and one line with row, file and remedy for each thing that is not."""

from __future__ import annotations

import shutil

import pytest
from django.core.management import CommandError, call_command
from django.db.migrations.executor import MigrationExecutor

from annotate.core.artefacts import local_copies
from annotate.labelling.actions import set_status
from annotate.models import Comparison, Dataset, LanguageModel, QueueChange, QueueEntry, StatusChange
from evaluation.installation.spoken_progress import SpokenProgress
from evaluation.installation.verification import all_checks
from evaluation.models import PromptLanguage, VoteCounts
from training.storage import stored_artefacts

pytestmark = pytest.mark.django_db


@pytest.fixture
def verify(capsys):
    """Return the lines of faults; none where the command ends well."""

    def run(**options) -> list[str]:
        capsys.readouterr()
        try:
            call_command("verify", **options)
        except CommandError as error:
            assert error.returncode == 1
            return capsys.readouterr().err.splitlines()
        assert "agree" in capsys.readouterr().out
        return []

    return run


def flip(path) -> None:
    """Change the last byte and nothing else: what a size does not show."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def cut(path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def rows_of(dataset: Dataset):
    return dataset.path / "prompts.jsonl"


def test_what_is_whole_has_no_faults_and_nothing_is_written(installation, verify, data_folder):
    before = {path: path.stat().st_mtime_ns for path in data_folder.rglob("*")}
    counts = VoteCounts.objects.count()
    assert verify() == []
    assert verify(quick=True) == []
    assert {path: path.stat().st_mtime_ns for path in data_folder.rglob("*")} == before
    assert VoteCounts.objects.count() == counts


def test_languages_that_are_found_to_count_again_are_not_written(installation, verify):
    assert PromptLanguage.objects.exists()
    PromptLanguage.objects.all().delete()
    assert verify() == []
    assert not PromptLanguage.objects.exists()


FAULTS = {
    "a dataset that is gone": (
        lambda i: shutil.rmtree(i.dataset.path),
        lambda i: f"dataset {i.dataset.pk} (first): datasets/{i.dataset.content_hash} is not there. Bring it back: "
        f"manage.py restore BACKUP --only datasets/{i.dataset.content_hash}.",
        True,
    ),
    "rows that changed": (
        lambda i: rows_of(i.dataset).write_text(rows_of(i.dataset).read_text().replace("Grüße", "Gruß")),
        lambda i: f"dataset {i.dataset.pk} (first): datasets/{i.dataset.content_hash} does not have its hash.",
        False,
    ),
    "a model that is gone": (
        lambda i: shutil.rmtree(i.model.path),
        lambda i: f"model {i.model.pk} ({i.model.name}): {i.model.folder} is not there.",
        True,
    ),
    "weights that are truncated": (
        lambda i: cut(i.model.path / "model.safetensors"),
        lambda i: f"model {i.model.pk} ({i.model.name}): {i.model.folder}/model.safetensors is truncated or damaged.",
        True,
    ),
    "weights that changed": (
        lambda i: flip(i.model.path / "model.safetensors"),
        lambda i: f"model {i.model.pk} ({i.model.name}): {i.model.folder} does not have its hash.",
        False,
    ),
    "a key sealed with another secret": (
        lambda i: LanguageModel.objects.filter(pk=i.model.pk).update(sealed_key="x", endpoint="http://10.0.0.1/v1"),
        lambda i: f"model {i.model.pk} ({i.model.name}): sealed_key does not open with this host's secrets. Set",
        True,
    ),
    "a run that is gone": (
        lambda i: shutil.rmtree(i.run.path),
        lambda i: f"{i.run}: runs/{i.run.pk:06d} is not there.",
        True,
    ),
    "the directory of another run": (
        lambda i: (i.run.path / "identity").write_text("run 9 of 2020-01-01\n"),
        lambda i: f"{i.run}: runs/{i.run.pk:06d}/identity names another run, of another database.",
        True,
    ),
    "a log that lost lines": (
        lambda i: cut(i.run.path / "metrics.jsonl"),
        lambda i: f"{i.run}: runs/{i.run.pk:06d}/metrics.jsonl ends with line 1, the rows of the database with 2.",
        False,
    ),
    "a checkpoint that is truncated": (
        lambda i: cut(i.checkpoint),
        lambda i: f"{i.run}: runs/{i.run.pk:06d}/checkpoints/step-000002/state.safetensors is truncated or damaged. "
        "Delete this checkpoint",
        True,
    ),
    "an upload that is gone": (
        lambda i: i.upload.unlink(),
        lambda i: f"import {i.import_.pk} (rows.jsonl): imports/{i.import_.file_hash} is not there. Cancel the import",
        True,
    ),
    "an upload that changed": (
        lambda i: flip(i.upload),
        lambda i: f"import {i.import_.pk} (rows.jsonl): imports/{i.import_.file_hash} does not have its hash.",
        False,
    ),
    "a status beside the ledger": (
        lambda i: Comparison.objects.filter(pk=i.vote.pk).update(status="counted"),
        lambda i: f"comparison {i.vote.pk}: annotate_comparison is counted, and the ledger of statuses says held.",
        True,
    ),
    "a ledger about nothing": (
        lambda i: StatusChange.objects.create(kind="rating", feedback_id=999, before="counted", after="held"),
        lambda i: "rating 999: annotate_rating is not there, and the ledger of statuses names it.",
        True,
    ),
    "wrong counts of votes": (
        lambda i: VoteCounts.objects.filter(part="").update(left_out={"held": 7}),
        lambda i: "counts of votes: evaluation_votecounts differ, "
        f"{i.project.slug}, person: status held: 7, the ledger says 1. Count them again: manage.py recount_votes.",
        True,
    ),
    "a wrong place in the queue": (
        lambda i: QueueEntry.objects.filter(kind="compare", level__gt=0).update(level=0),
        lambda i: "annotate_queueentry differs: kept: items 1, language '', level 0.0, level_simulated 0.0; from the "
        f"assignments: items 1, language '', level 1.0, level_simulated 0.0. Compute it again: manage.py recount_queue "
        f"{i.project.slug}.",
        True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_one_line_with_row_file_and_remedy(name, installation, verify):
    spoil, line, is_seen_quickly = FAULTS[name]
    spoil(installation)
    found = verify()
    assert len(found) == 1 and line(installation) in found[0]
    assert len(verify(quick=True)) == int(is_seen_quickly)


def test_what_waits_to_be_counted_is_no_fault(installation, verify):
    """Votes since the last fold, and changes that the queue has not taken in."""
    set_status(rows=[installation.vote], by=None, status="counted", reason="looked at")
    QueueEntry.objects.filter(kind="compare", level__gt=0).update(level=0)
    QueueChange.note(installation.project.pk, QueueEntry.objects.values_list("prompt_id", flat=True))
    assert verify() == []


def test_files_that_no_row_names_are_listed_and_no_fault(installation, data_folder, capsys):
    (data_folder / "models" / "left-over").mkdir()
    (data_folder / "datasets" / ".x.partial").mkdir()
    (data_folder / "runs" / "gpus").mkdir()  # locks of the workers here: who deletes them gives a GPU away twice
    call_command("verify")
    out = capsys.readouterr().out
    assert "no row names models/left-over\n" in out and "no row names datasets/.x.partial\n" in out
    assert out.count("no row names") == 2


def test_the_storage_is_verified_and_stands_in_for_what_is_not_here(installation, verify, settings, tmp_path, capsys):
    settings.STORAGE = str(tmp_path / "storage")
    (tmp_path / "storage").mkdir()
    assert [line.partition(" is not in")[0] for line in verify()] == [
        f"{artefact.label}: {artefact.name}" for artefact in stored_artefacts.expected()
    ]
    call_command("store_artefacts")
    for number in (installation.run.pk, 999_999):  # what a worker laid for a node of a cluster
        local_copies.store().put(f"inputs/{number:06d}-1a", installation.model.path)
    call_command("verify")
    out = capsys.readouterr().out
    assert "manifests/inputs/999999-1a.json" in out and out.count("manifests/inputs/") == 1
    shutil.rmtree(installation.dataset.path)
    shutil.rmtree(installation.model.path)
    assert verify() == []
    store = local_copies.store()
    blob = tmp_path / "storage" / store.manifest(installation.model.folder).entries[1].blob
    flip(blob)
    assert verify(quick=True) == []
    (line,) = verify()
    assert f"{installation.model.folder} in ASSAY_STORAGE: " in line and "does not have the hash" in line
    blob.unlink()
    (line,) = verify(quick=True)
    assert "is gone" in line


def test_tables_of_another_version_end_it(monkeypatch, db, verify):
    def plan(executor, nodes):
        return [(executor.loader.get_migration_by_prefix("annotate", "0035"), False)]

    monkeypatch.setattr(MigrationExecutor, "migration_plan", plan)
    monkeypatch.setattr(all_checks, "CHECKS", {"datasets": lambda look: pytest.fail("read")})
    assert verify()[0] == "database: annotate.0035_queue_language is not applied. Apply it: manage.py migrate."


def test_long_work_says_what_it_is_at():
    written, now = [], [0.0]
    say = SpokenProgress(written.append, every=5.0, clock=lambda: now[0])
    for second in range(12):
        now[0] = float(second)
        say(f"file {second}")
    assert written == ["… file 5", "… file 10"]
