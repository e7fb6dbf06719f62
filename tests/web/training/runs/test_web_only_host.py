"""A host that has the packages of requirements-web.txt alone: what needs the others says so, and how to get them."""

from __future__ import annotations

import sys
from contextlib import nullcontext

import pytest
from django.core.management import CommandError, call_command

from annotate.models import LanguageModel
from tests.support.factories import make_project, make_user

pytestmark = pytest.mark.django_db
REMEDY = "python -m pip install -r requirements.txt -c requirements.lock"


@pytest.fixture(autouse=True)
def web_only(monkeypatch) -> None:
    for name in ("torch", "datasets"):
        monkeypatch.setitem(sys.modules, name, None)  # as when it is not installed


def refusal(*arguments: str, **options: object) -> str:
    with pytest.raises(CommandError) as refused:
        call_command(*arguments, **options)
    return str(refused.value)


def test_weights_are_not_imported(tmp_path):
    told = refusal("import_model", str(tmp_path), name="Mine")
    assert told.startswith("Reading weights needs torch") and REMEDY in told and "--endpoint" in told
    assert not LanguageModel.objects.exists()


def test_datasets_of_a_hub_are_not_imported():
    project = make_project()
    by = make_user(project, role="researcher").username
    told = refusal("import_dataset", "hub:glue/sst2", project=project.slug, kind="labelled", by=by)
    assert told.startswith("Reading from the hub needs datasets") and REMEDY in told


def test_no_worker_claims_runs_that_can_only_fail():
    told = refusal("run_worker", once=True)
    assert told.startswith("Carrying out runs needs torch") and REMEDY in told


def test_a_launcher_of_ones_own_may_train_elsewhere(settings, monkeypatch):
    settings.RUN_LAUNCHER = "json.decoder"  # any module: nothing is queued
    monkeypatch.setattr("training.management.commands.run_worker.Worker.work", lambda self, once: None)
    monkeypatch.setattr("training.core.parent_watchdog.watch_parent", lambda *_: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    # Its thread would wait for this test's own transaction.
    monkeypatch.setattr("training.management.commands.run_worker.beating", lambda *_: nullcontext())
    call_command("run_worker", once=True)
