"""Figures of runs in TensorBoard's files, in W&B and in MLflow: all of them, once, whatever happens to a tracker."""

from __future__ import annotations

import struct
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from tensorboardX.proto.event_pb2 import Event

from tests.support.factories import sign_in
from tests.support.training.runs import make_run
from training.models import Run, TrackedRun
from training.runs.trackers import tensorboard_files, updates
from training.runs.trackers.updates import Sender

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    """Let each test have trackers of its own."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    updates.trackers.cache_clear()


@pytest.fixture
def sender():
    sender = Sender()
    yield sender
    sender.end()


@pytest.fixture
def run(project) -> Run:
    run = make_run(project, state="running", name="taste one")
    measure(run, 0, 1, 2)
    return run


def measure(run: Run, *steps: int) -> None:
    for step in steps:
        values = {"loss": 2.0 - step / 10, "kl": step / 4, "note": "text", "is_on": True}
        run.metrics.create(sequence=step + 1, step=step, values=values, time=timezone.now())


def events(content: bytes) -> list[tuple[int, dict[str, float]]]:
    """Return (step, figures) of an event file: records of length, its checksum, content, its checksum."""
    found, at = [], 0
    while at < len(content):
        (size,) = struct.unpack_from("<Q", content, at)
        event = Event.FromString(content[at + 12 : at + 12 + size])
        if event.HasField("summary"):
            found.append((event.step, {v.tag: round(v.simple_value, 4) for v in event.summary.value}))
        at += 16 + size
    return found


def kept(run: Run) -> list[tuple[int, dict[str, float]]]:
    files = sorted(tensorboard_files.folder_of(run).iterdir())
    return [event for path in files for event in events(path.read_bytes())]


def ended(run: Run, **ago: int) -> None:
    Run.objects.filter(pk=run.pk).update(state="succeeded", finished_at=timezone.now() - timedelta(**ago))


def test_tensorboard_gets_every_figure_once_and_an_end(run, sender):
    sender.round()
    sender.round()
    assert kept(run) == [(step, {"loss": round(2 - step / 10, 4), "kl": step / 4}) for step in (0, 1, 2)]
    measure(run, 3)
    ended(run)
    sender.round()
    assert [step for step, _ in kept(run)] == [0, 1, 2, 3] and run.trackers.get().is_closed
    Run.objects.filter(pk=run.pk).update(state="running")  # resumed
    measure(run, 4)
    sender.round()
    assert [step for step, _ in kept(run)] == [0, 1, 2, 3, 4] and not run.trackers.get().is_closed


def test_a_long_run_is_sent_in_parts(run, sender, monkeypatch):
    monkeypatch.setattr(updates, "ROWS", 2)
    sender.round()
    assert [step for step, _ in kept(run)] == [0, 1, 2]
    assert len(list(tensorboard_files.folder_of(run).iterdir())) == 1


def test_of_two_background_workers_one_sends_until_its_lease_ends(run, sender):
    sender.round()
    other = Sender()
    measure(run, 3)
    other.round()
    assert [step for step, _ in kept(run)] == [0, 1, 2]
    TrackedRun.objects.update(claimed_until=timezone.now() - timedelta(seconds=1))
    other.round()
    measure(run, 4)
    sender.round()
    other.round()
    assert [step for step, _ in kept(run)] == [0, 1, 2, 3, 4]


class Away:
    """A tracker that takes nothing of the runs in `lost`."""

    name = "mlflow"

    def __init__(self, *lost: int) -> None:
        self.lost, self.sent = set(lost), []

    def log(self, run, rows):
        if run.pk in self.lost:
            raise ConnectionError("no answer from https://ann:secret@example.org/api")
        self.sent += [(run.pk, row.step) for row in rows]
        return "https://ann:secret@example.org/page"

    def finish(self, run): ...

    def let_go(self, run): ...

    def close(self): ...


def test_a_run_that_is_not_taken_says_so_and_holds_up_no_other(run, sender, project, monkeypatch):
    other = make_run(project, state="running", name="taste two")
    measure(other, 0)
    away = Away(run.pk)
    monkeypatch.setattr(updates, "trackers", lambda: (away,))
    sender.round()
    row = run.trackers.get()
    assert (row.sequence, row.problem) == (0, "no answer from https://example.org/api")
    assert away.sent == [(other.pk, 0)] and other.trackers.get().address == "https://example.org/page"
    away.lost.clear()
    sender.round()
    assert run.trackers.get().sequence == 0, "it rests for a minute"
    sender._rests.clear()
    sender.round()
    row.refresh_from_db()
    assert (row.sequence, row.problem) == (3, "")


def test_a_runs_page_links_its_trackers_and_says_what_they_refuse(run, client):
    TrackedRun.objects.create(run=run, tracker="wandb", address="https://wandb.example/assay/taste-one")
    TrackedRun.objects.create(run=run, tracker="mlflow", problem="no `run_id` from https://mlflow.example")
    sign_in(client, run.project, "researcher")
    page = client.get(f"/runs/{run.pk}/?tab=charts").content.decode()
    assert 'href="https://wandb.example/assay/taste-one" rel="noreferrer">W&amp;B</a>' in page
    assert "MLflow takes no figures: no <code>run_id</code> from https://mlflow.example" in page


def test_the_api_links_them_too(run, client):
    TrackedRun.objects.create(run=run, tracker="wandb", address="https://wandb.example/assay/taste-one")
    TrackedRun.objects.create(run=run, tracker="mlflow", problem="no answer from https://mlflow.example")
    sign_in(client, run.project, "researcher")
    assert client.get(f"/api/v1/runs/{run.pk}/").json()["trackers"] == [
        {"tracker": "mlflow", "address": "", "problem": "no answer from https://mlflow.example"},
        {"tracker": "wandb", "address": "https://wandb.example/assay/taste-one", "problem": ""},
    ]


def test_what_ended_long_ago_is_not_sent_to_a_server(run, sender):
    ended(run, hours=2)
    assert list(sender.waiting("wandb")) == [] and list(sender.waiting("tensorboard")) == [run]


def test_the_file_is_downloaded_from_page_and_api(run, client):
    sign_in(client, run.project, "researcher")
    page = client.get(f"/runs/{run.pk}/?tab=charts").content.decode()
    assert f'href="/runs/{run.pk}/tensorboard/"' in page
    for address in (f"/runs/{run.pk}/tensorboard/", f"/api/v1/runs/{run.pk}/tensorboard/"):
        answer = client.get(address)
        assert f"tfevents.{int(run.created_at.timestamp())}" in answer["Content-Disposition"]
        assert [step for step, _ in events(answer.getvalue())] == [0, 1, 2]


@pytest.mark.thorough
@pytest.mark.slow
def test_wandb_without_a_network_and_mlflow_in_a_folder(run, sender, monkeypatch, tmp_path: Path, settings):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    Run.objects.filter(pk=run.pk).update(config={"steps": 3})
    sender.round()
    assert not run.trackers.exclude(problem="").values_list("tracker", "problem")
    sender.end()  # the background worker starts again
    updates.trackers.cache_clear()
    TrackedRun.objects.update(claimed_until=timezone.now())
    sender = Sender()
    measure(run, 3)
    ended(run)
    sender.round()
    sender.end()
    assert {t.tracker: (t.sequence, t.is_closed, t.problem) for t in TrackedRun.objects.all()} == dict.fromkeys(
        ("tensorboard", "wandb", "mlflow"), (4, True, "")
    )
    from mlflow import MlflowClient

    server = MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    experiment = server.get_experiment_by_name(f"assay/{run.project.slug}")
    (theirs,) = server.search_runs([experiment.experiment_id])
    assert (theirs.info.run_name, theirs.info.status, theirs.data.params) == ("taste one", "FINISHED", {"steps": "3"})
    history = server.get_metric_history(theirs.info.run_id, "kl")
    assert [(figure.step, figure.value) for figure in history] == [(0, 0.0), (1, 0.25), (2, 0.5), (3, 0.75)]
    assert len(list((settings.DATA_DIR / "wandb").rglob("run-*.wandb"))) == 2, "one file each time it was begun"
