"""The sample project: its pages show what the fixture holds, beside other projects and without touching them."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from annotate.arena.battles import pairing
from annotate.core.artefacts import local_copies
from annotate.models import Comparison, LanguageModel, Project, ServedAdapter, User
from evaluation.leaderboard import snapshots
from evaluation.models import Leaderboard
from evaluation.promotion import candidate_review
from evaluation.sample import fixture_files, fixture_writer
from evaluation.sample.fixture_files import FIXTURE, StaleFixture, read_rows
from evaluation.sample.fixture_loader import NameTaken, load
from evaluation.sample.project_rows import tables
from evaluation.sample.removal import StillUsed, remove
from evaluation.sample.sample_runs import complete_adapters, describe_models
from tests.support.factories import make_comparison, make_model, make_pair, make_project, make_user
from training.models import KeptCheckpoint, Metric, Run
from training.storage import stored_artefacts

pytestmark = pytest.mark.django_db


def neighbour() -> Project:
    """Return another project with votes, so that no id of the sample project is what it was in its own database."""
    project = make_project()
    author = make_user(project, is_simulated=True)
    for _ in range(3):
        a, b = make_pair(project)
        make_comparison(a, b, author=author)
    return project


def everything() -> dict[str, int]:
    return {table._meta.label: table._base_manager.count() for table in tables()}


def board_of(project: Project) -> list[tuple[str, float, int, int]]:
    board = snapshots.current(project=project, judge="simulation")
    names = dict(LanguageModel.objects.values_list("pk", "name"))
    return [
        (names[row["model"]], round(row["rating"], 6), row["rank"], row["battles"]) for row in board.ratings["rows"]
    ]


def test_what_is_loaded_ranks_and_decides_as_the_turn_did() -> None:
    neighbour()
    project, is_new = load()
    assert is_new and "finished, from a real turn of" in project.name
    names = {row["id"]: row["name"] for row in read_rows("annotate.languagemodel")}
    last = max(read_rows("evaluation.leaderboard"), key=lambda row: row["votes"])["ratings"]["rows"]
    assert board_of(project) == [
        (names[row["model"]], round(row["rating"], 6), row["rank"], row["battles"]) for row in last
    ]
    sentences = [row["sentence"] for row in read_rows("evaluation.decision")]
    assert list(project.decisions.order_by("id").values_list("sentence", flat=True)) == sentences
    candidate_review.look(project)  # as the background worker does: nothing new is found in the same evidence
    assert project.decisions.count() == len(sentences)
    for candidacy, old in zip(project.candidacies.order_by("id"), read_rows("evaluation.candidacy"), strict=True):
        found = [check["sentence"] for check in candidacy.evidence["checks"]]
        assert found == [check["sentence"] for check in old["evidence"]["checks"]]
    stored = Leaderboard.objects.get(pk=project.promotions.get().leaderboard_id)
    assert {row["model"] for row in stored.ratings["rows"]} <= set(LanguageModel.objects.values_list("pk", flat=True))


def test_pages_show_the_turns_figures(client: Client) -> None:
    neighbour()
    project, _ = load()
    client.force_login(make_user(project, role="manager"))
    board = client.get(f"/p/{project.slug}/leaderboard/").content.decode()
    last = max(read_rows("evaluation.leaderboard"), key=lambda row: row["votes"])["ratings"]["rows"]
    assert all(f"{row['rating']:.0f}" in board for row in last)
    for run, old in zip(Run.objects.filter(project=project).order_by("id"), read_rows("training.run"), strict=True):
        assert run.name == old["name"] and set(run.result) == set(old["result"])
        page = client.get(f"/runs/{run.pk}/")
        assert page.status_code == 200 and old["name"] in page.content.decode()
    steps = Counter(row["run_id"] for row in read_rows("training.metric"))
    assert sorted(Counter(Metric.objects.values_list("run", flat=True)).values()) == sorted(steps.values())
    for model in LanguageModel.objects.filter(made_by__project=project):
        assert client.get(f"/models/{model.pk}/").status_code == 200
    for address in ("decisions", "runs", "models", "evaluations", "data", "votes", "quality", "people", "audit"):
        assert client.get(f"/p/{project.slug}/{address}/").status_code in (200, 302), address


def test_runs_files_come_with_the_numbers_of_their_runs() -> None:
    neighbour()
    make_run_ids_differ()
    project, _ = load()
    ppo = Run.objects.get(project=project, kind="ppo")
    spec = json.loads((ppo.path / "config.json").read_text(encoding="utf-8"))
    assert ppo.parent is not None and spec["parent"] == str(ppo.parent.path)
    reward = Run.objects.get(project=project, kind="reward")
    authors = json.loads((reward.path / "judges.json").read_text(encoding="utf-8"))
    assert set(User.objects.filter(pk__in=authors).values_list("is_simulated", flat=True)) == {True}
    assert len(authors) == User.objects.filter(pk__in=authors).count()
    evaluated = Run.objects.filter(project=project, kind="evaluate", name__startswith="choices")
    assert all((run.path / "items.jsonl").exists() for run in evaluated)
    assert not [path for path in ppo.path.rglob("*") if path.suffix in (".json", ".txt") and "@@" in path.read_text()]


def make_run_ids_differ() -> None:
    for number in range(3):
        Run.objects.create(project=make_project(), kind="sample", name=f"another {number}")


def test_a_second_load_changes_nothing() -> None:
    load()
    before = everything()
    assert load()[1] is False and everything() == before


def test_other_projects_keep_their_rows_and_figures() -> None:
    other = neighbour()
    votes = list(Comparison.objects.filter(project=other).values())
    board = board_of(other)
    load()
    assert list(Comparison.objects.filter(project=other).values()) == votes and board_of(other) == board


def test_removing_leaves_no_row_and_no_file(data_folder: Path) -> None:
    neighbour()
    before = everything()
    files = set(data_folder.rglob("*"))
    project, _ = load()
    make_comparison(*make_pair(project), author=make_user(project))  # somebody tried it
    stays = User.objects.count()
    ppo = LanguageModel.objects.get(name="sample-ppo")
    ServedAdapter.objects.create(model=ppo, base=ppo.parent)  # a server held it
    remove(project)
    left = {label: n for label, n in everything().items() if n != before[label]}
    # Who tried it stays, and so do models that no run of the project made: its base, and those of `make_pair`.
    assert set(left) <= {"annotate.User", "annotate.LanguageModel"} and stays > User.objects.count()
    assert set(data_folder.rglob("*")) == files
    assert load()[1] is True


def test_removing_takes_its_runs_and_datasets_from_the_storage(data_folder: Path, settings, tmp_path: Path) -> None:
    (tmp_path / "storage").mkdir()
    settings.STORAGE = str(tmp_path / "storage")
    project, _ = load()
    for artefact in stored_artefacts.expected():
        if artefact.is_here:
            artefact.push()
    assert local_copies.store().names("runs") and local_copies.store().names("datasets")
    remove(project)
    assert local_copies.store().names("runs") == local_copies.store().names("datasets") == []


def test_what_another_project_uses_is_not_removed() -> None:
    project, _ = load()
    sft = LanguageModel.objects.get(name="sample-sft")
    Run.objects.create(project=make_project(), kind="sft", name="from the sample", parent=sft)
    before = everything()
    with pytest.raises(StillUsed, match="nothing was removed"):
        remove(project)
    assert everything() == before


def test_a_model_registered_in_it_is_left_without_a_project() -> None:
    """It is no row of the project, and nobody else uses it: it stays, as it does when another project goes."""
    project, _ = load()
    registered = make_model(project=project, is_shared=False)
    remove(project)
    registered.refresh_from_db()
    assert registered.project is None and not Project.objects.filter(slug="sample").exists()


def test_names_that_are_taken_are_refused() -> None:
    make_model(name="sample-sft")
    with pytest.raises(NameTaken, match="the model sample-sft"):
        load()
    assert not Project.objects.filter(slug="sample").exists()


def test_another_project_of_that_slug_is_left_alone() -> None:
    make_project(slug="sample")
    with pytest.raises(CommandError, match="another project at /p/sample/"):
        call_command("load_sample")


def test_a_column_that_is_gone_is_said(tmp_path: Path) -> None:
    folder = shutil.copytree(FIXTURE, tmp_path / "fixture")
    rows = read_rows("annotate.guideline")
    fixture_files.write_rows("annotate.guideline", [row | {"tone": "kind"} for row in rows], folder)
    with pytest.raises(StaleFixture, match=r"annotate.guideline has no column tone any more.*export_sample"):
        load(folder)
    assert not Project.objects.filter(slug="sample").exists()


@pytest.mark.thorough
def test_a_column_that_came_since_gets_its_default(tmp_path: Path) -> None:
    folder = shutil.copytree(FIXTURE, tmp_path / "fixture")
    rows = [
        {name: value for name, value in row.items() if name != "reasoning"} for row in read_rows("annotate.completion")
    ]
    fixture_files.write_rows("annotate.completion", rows, folder)
    project, _ = load(folder)
    assert not project.prompts.first().completions.exclude(reasoning="").exists()


def test_a_table_that_is_gone_is_said(tmp_path: Path) -> None:
    folder = shutil.copytree(FIXTURE, tmp_path / "fixture")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["tables"]["annotate.gone"] = 1
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StaleFixture, match="no such table"):
        load(folder)


def test_the_fixture_names_no_machine_no_password_and_no_person() -> None:
    texts = {
        path.name: fixture_files.read_rows(path.name.removesuffix(".jsonl.gz"))
        for path in (FIXTURE / "tables").iterdir()
    }
    for name, rows in texts.items():
        text = json.dumps(rows)
        assert not re.search(r"/work/|/tmp/|/root/|/home/|@vm|assay_[A-Za-z0-9]{4}", text), name
        assert "password" not in rows[0] and "judgements" not in str([row.get("name") for row in rows]), name
    for name, content in fixture_files.read_files().items():
        assert name.endswith(".safetensors") or not re.search(rb"/work/|/tmp/samp|/root/", content), name
    assert all(
        row["is_simulated"] and not row["is_superuser"] and not row["email"] for row in texts["annotate.user.jsonl.gz"]
    )
    assert {row["judge"] for row in texts["annotate.comparison.jsonl.gz"]} == {"simulation"}


def test_models_without_weights_meet_nobody_live(data_folder: Path) -> None:
    project, _ = load()
    names = {model.name for model in pairing.served_contestants(project)}
    assert "sample-pretrained" not in names and {"sample-sft", "sample-ppo"} <= names
    pretrained = LanguageModel.objects.get(name="sample-pretrained")
    assert not pretrained.folder and "not its weights" in pretrained.origin


def test_a_checkpoint_that_a_run_kept_comes_along_without_weights(data_folder: Path, tmp_path: Path) -> None:
    load()
    run = Run.objects.get(output_model__name="sample-sft")
    kept = make_model(name="sample-sft, step 1 of 2", folder=f"runs/{run.pk:06d}/kept/step-000001")
    KeptCheckpoint.objects.create(run=run, step=1, model=kept)
    assert kept.path is not None
    kept.path.mkdir(parents=True)
    (kept.path / "adapter_config.json").write_text("{}")
    assert fixture_writer._adapters([kept], None, tmp_path, [4]) == {}  # type: ignore[arg-type]
    describe_models({"adapters": {"000001": {"hash": "f" * 64, "rank": 4}}}, {"training.run": {1: run.pk}})
    kept.refresh_from_db()
    assert not kept.folder and "not its weights" in kept.origin


@pytest.mark.thorough
def test_adapters_are_completed_when_the_base_has_come(data_folder: Path) -> None:
    project, _ = load()
    ppo = LanguageModel.objects.get(name="sample-ppo")
    assert ppo.path is not None and not (ppo.path / "tokenizer.json").exists()
    base = LanguageModel.objects.get(name="SmolLM2-135M-Instruct").path
    assert base is not None
    base.mkdir(parents=True)
    (base / "tokenizer.json").write_text("{}")
    assert complete_adapters(project) == 2 and (ppo.path / "tokenizer.json").read_text() == "{}"
    assert complete_adapters(project) == 0
    index = json.loads((ppo.path / "model.safetensors.index.json").read_text())
    assert (ppo.path / next(iter(index["weight_map"].values()))).resolve().parent == base.resolve()


@pytest.mark.thorough
def test_a_base_that_stands_is_used_and_kept() -> None:
    (row,) = (row for row in read_rows("annotate.languagemodel") if row["stage"] == "base")
    base = make_model(name="our base", content_hash=row["content_hash"], folder="models/ours")
    load()
    assert LanguageModel.objects.get(name="sample-sft").parent == base
    base.refresh_from_db()
    assert base.name == "our base"
    spec = json.loads((LanguageModel.objects.get(name="sample-sft").path / "adapter_config.json").read_text())  # type: ignore[operator]
    assert spec["base_model_name_or_path"].endswith("models/ours")


def test_what_is_loaded_is_exported_as_it_was(tmp_path: Path) -> None:
    neighbour()
    project, _ = load()
    with pytest.raises(CommandError, match="--ranks must be at least 1, not 0"):
        call_command("export_sample", project=project.slug, folder=tmp_path, ranks=[0])
    fixture_writer.export(project, tmp_path, ranks=())
    again, before = (json.loads((folder / "manifest.json").read_text()) for folder in (tmp_path, FIXTURE))
    assert again["tables"] == before["tables"] and again["day"] == before["day"]
    for label in ("annotate.comparison", "annotate.rating", "training.metric"):
        assert [_values(row) for row in read_rows(label, tmp_path)] == [_values(row) for row in read_rows(label)]


def _values(row: dict) -> dict:
    """Return what is no key of another row: those are numbered anew."""
    return {name: value for name, value in row.items() if name != "id" and not name.endswith("_id")}
