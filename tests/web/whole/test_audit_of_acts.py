"""What leaves or changes something beyond annotations is on the audit trail: who, what, in which project."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from annotate.language_models.actions import register_model
from annotate.models import AuditEntry
from tests.support import factories
from tests.support.api_client import Program
from tests.support.evaluation.chains import make_chain
from tests.support.training.runs import make_run
from training import configs
from training.corpora import actions as corpora
from training.models import Run
from training.runs.ordering import actions, pauses

pytestmark = pytest.mark.django_db
CHOICE = {"name": "go on", "action": "go_on", "changes": {"stop_kl": 9.0}, "label": "Go on"}
PAUSE = {"code": "kl_limit", "message": "far", "remedy": "choose", "step": 3, "choices": [CHOICE]}


@pytest.fixture
def rita(project):
    return factories.make_user(project, role="researcher")


def entry(action: str) -> AuditEntry:
    return AuditEntry.objects.get(action=action)


def test_runs_cancelled_resumed_and_amended(project, rita):
    run = make_run(project, name="seven")
    actions.cancel(run=run, by=rita)
    actions.resume(run=run, by=rita)
    for action in ("run.cancelled", "run.resumed"):
        assert (entry(action).actor, entry(action).project, entry(action).about) == (rita, project, "fake seven")
    paused = make_run(project, kind="ppo", name="eight", state="paused", pause=PAUSE)
    paused.config = dict(configs.parse("ppo", {}).__dict__)
    paused.save()
    pauses.choose(run=paused, by=rita, choice="go on")
    amended = entry("run.amended")
    assert amended.about == "ppo eight: go on" and amended.changes["stop_kl"][1] == 9.0 and amended.actor == rita


def test_a_refused_cancel_leaves_no_entry(project, rita):
    run = make_run(project, state="succeeded")
    with pytest.raises(Exception, match="cannot be cancelled"):
        actions.cancel(run=run, by=rita)
    assert not AuditEntry.objects.filter(action="run.cancelled").exists()


@pytest.mark.parametrize("by_page", [True, False])
def test_pruned_checkpoints(project, rita, client, by_page):
    run = make_run(project, state="failed", name="nine")
    if by_page:
        client.force_login(rita)
        client.post(reverse("prune", args=[project.slug]), {"run": run.pk})
    else:
        assert Program(rita).post("disk/prune/", {"project": project.slug, "run": run.pk}).status_code == 200
    audit_entry = entry("checkpoints.pruned")
    assert audit_entry.actor == rita and audit_entry.about.startswith("fake nine")


@pytest.mark.parametrize("by_page", [True, False])
def test_weights_that_are_downloaded(project, rita, client, by_page):
    chain = make_chain(project)
    run = actions.queue_run(kind="export", project=project, name="out", by=rita, parent=chain.ppo)
    (run.path / "export").mkdir(parents=True)
    (run.path / "export" / "a.gguf").write_bytes(b"GGUF")
    Run.objects.filter(pk=run.pk).update(result={"files": [{"name": "a.gguf", "bytes": 4, "sha256": ""}]})
    if by_page:
        client.force_login(rita)
        b"".join(client.get(reverse("export-file", args=[run.pk, "a.gguf"])).streaming_content)
        client.get(reverse("export-file", args=[run.pk, "b.gguf"]))
    else:
        b"".join(Program(rita).get(f"runs/{run.pk}/export/a.gguf").streaming_content)
    audit_entry = entry("weights.downloaded")
    assert (audit_entry.actor, audit_entry.project, audit_entry.about) == (rita, project, f"a.gguf of {chain.ppo.name}")


def test_models_that_are_registered_and_corpora_that_are_uploaded(project, rita):
    register_model(name="far", endpoint="https://example.org/v1", served_name="x", by=rita)
    register_model(name="far", endpoint="https://example.org/v1", served_name="x", by=rita)  # stands already
    made = entry("model.registered")
    assert made.about == "far at https://example.org/v1" and made.actor == rita
    corpora.upload(project=project, file=SimpleUploadedFile("a.txt", b"text"), by=rita)
    assert entry("corpus.uploaded").about == "a.txt (4 bytes)" and entry("corpus.uploaded").project == project


def test_sign_ins_and_tokens(client, rita):
    sent = {"login": rita.username, "password": factories.PASSWORD}
    assert client.post(reverse("login"), {**sent, "password": "wrong"}).status_code == 200
    assert not AuditEntry.objects.filter(action="account.signed in").exists()
    assert client.post(reverse("login"), sent).status_code == 302
    assert entry("account.signed in").about == f"{rita.username}, by page"
    by_program = {"username": rita.username, "password": factories.PASSWORD}
    assert Program().post("auth/token/", by_program).status_code == 200
    assert AuditEntry.objects.filter(action="account.signed in", about__endswith="by program").count() == 1


def test_leaderboards_that_are_downloaded_by_somebody(client, project, rita):
    for name in ("leaderboard-csv", "leaderboard-json", "leaderboard-png"):
        assert client.get(reverse(name, args=[project.slug])).status_code == 200  # a visitor leaves no row
    assert not AuditEntry.objects.filter(action="leaderboard.exported").exists()
    client.force_login(rita)
    for name in ("csv", "json", "png"):
        client.get(reverse(f"leaderboard-{name}", args=[project.slug]))
    audit_entries = AuditEntry.objects.filter(action="leaderboard.exported", actor=rita, project=project)
    assert [entry.about.rsplit(".")[-1] for entry in audit_entries] == ["png", "json", "csv"]
