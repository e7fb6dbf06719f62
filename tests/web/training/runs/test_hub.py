"""What comes from a hub is never a folder of this machine, and what goes there goes where the operator says."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from annotate.core.errors import Refused
from annotate.models import AuditEntry
from tests.support.training.runs import make_weights
from training.configs.corpus_sources import read_orders
from training.core.kinds import KINDS
from training.core.run_directory import RecipeFailure
from training.corpora.reading import hub_streams as hub
from training.models import Run
from training.runs.ordering.actions import queue_run
from training.runs.queue import outputs, preparation

pytestmark = pytest.mark.django_db


@pytest.fixture
def somewhere(tmp_path, monkeypatch):
    """A working directory with another project's uploads, as the worker's has them below data/."""
    (tmp_path / "data" / "corpus-uploads" / "theirs").mkdir(parents=True)
    (tmp_path / "data" / "corpus-uploads" / "theirs" / "secret.jsonl").write_text('{"text": "theirs alone"}\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("source", ["hub:data/corpus-uploads", "hub:data/corpus-uploads/theirs", "hub:data/nothing"])
def test_a_hub_name_is_never_a_folder_here(somewhere, source, monkeypatch):
    asked = []
    monkeypatch.setitem(
        sys.modules, "datasets", SimpleNamespace(load_dataset=lambda *given, **_: asked.append(given) or [])
    )
    (order,) = read_orders(source)
    (somewhere / "data" / "nothing").symlink_to("/no/such/place")
    with pytest.raises(RecipeFailure, match="folder of this machine") as caught:
        list(hub.reader(order, ["text"])(SimpleNamespace(resume_from=None), 0))
    assert caught.value.code == "hub_local" and not asked


def test_such_a_name_is_refused_before_it_is_queued(project, researcher, somewhere, settings):
    settings.BASE_DIR = somewhere
    with pytest.raises(Refused) as caught:
        queue_run(
            kind="corpus", project=project, name="c", by=researcher, config={"sources": "hub:data/corpus-uploads"}
        )
    assert "folder of this machine" in caught.value.errors["config.sources"]


def test_what_is_read_from_a_hub_is_on_the_audit_trail(project, researcher):
    sources = "python:topics\nhub:allenai/c4/en\nhub:roneneldan/TinyStories"
    queue_run(kind="corpus", project=project, name="c", by=researcher, config={"sources": sources})
    audit_entries = AuditEntry.objects.filter(action="hub.read").order_by("id")
    assert [(e.about, e.actor, e.project) for e in audit_entries] == [
        ("hub:allenai/c4/en for c", researcher, project), ("hub:roneneldan/TinyStories for c", researcher, project)
    ]  # fmt: skip


def export(project, researcher, repository: str) -> Run:
    config = {"to": "hub", "repository": repository}
    return queue_run(kind="export", project=project, name="out", by=researcher, parent=make_weights(), config=config)


@pytest.mark.parametrize("repository", ["thief/model", "us/other", "us", "/us/model", "us/model/x", "US/model "])
def test_models_go_only_to_repositories_that_the_operator_names(project, researcher, settings, repository):
    settings.HUB_REPOSITORIES = ["us/model", "lab/*"]
    with pytest.raises(Refused) as caught:
        export(project, researcher, repository)
    assert "config.repository" in caught.value.errors and not AuditEntry.objects.filter(action="hub.push").exists()


def test_without_any_named_it_says_who_names_them(project, researcher):
    with pytest.raises(Refused, match="ASSAY_HUB_REPOSITORIES"):
        export(project, researcher, "us/model")


@pytest.mark.parametrize("repository", ["us/model", "lab/anything"])
def test_a_push_is_on_the_audit_trail_when_it_is_asked_for_and_when_it_is_done(
    project, researcher, settings, repository
):
    settings.HUB_REPOSITORIES = ["us/model", "lab/*"]
    run = export(project, researcher, repository)
    audit_entry = AuditEntry.objects.get(action="hub.push")
    assert (audit_entry.about, audit_entry.actor) == (f"{run.parent.name} to {repository}", researcher)
    directory = preparation.prepare(run)
    directory.finish({"hub": {"repository": repository, "commit": "1f0c"}})
    outputs.record(run, outputs.gather(run, directory))
    done = AuditEntry.objects.get(action="hub.pushed")
    assert done.about == f"{run.parent.name} to {repository}, commit 1f0c" and done.actor == researcher


def test_the_worker_refuses_a_repository_that_is_no_longer_named(project, researcher, settings):
    settings.HUB_REPOSITORIES = ["us/model"]
    run = export(project, researcher, "us/model")
    settings.HUB_REPOSITORIES = []
    with pytest.raises(RecipeFailure) as caught:
        preparation.prepare(run)
    assert caught.value.code == "hub_repository" and not (run.path / "config.json").exists()


def test_only_the_kinds_that_leave_this_machine_are_given_the_token():
    gets = {name for name, kind in KINDS.items() if kind.variables is not None}
    assert gets == {"corpus", "export", "evaluate", "import", "ppo"}
    of_ppo = KINDS["ppo"].variables
    assert of_ppo({}) == () and not any("HF_" in name for name in of_ppo({"rollout_server": "http://gpu-2:8010"}))
    assert {"ASSAY_ROLLOUT_KEY", "ASSAY_ROLLOUT_URL"} < set(of_ppo({"rollout_server": "http://gpu-2:8010"}))
