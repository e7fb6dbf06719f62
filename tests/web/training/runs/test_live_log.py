"""The log of a run that a cluster's node carries out, on a web host that shares no folder with anybody: as far as the
node has sent it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from common.artefacts.file_systems import FileSystem
from tests.support.factories import sign_in
from tests.support.training.runs import make_run
from training.models import Attempt, Run
from training.runs.launchers.storage_relay.file_streams import FileReceiver, FileSender
from training.runs.launchers.storage_relay.message_box import MessageBox
from training.runs.launchers.storage_relay.node_inputs import box_name
from training.storage import stored_runs

pytestmark = pytest.mark.django_db


@pytest.fixture
def sent(settings: Any, tmp_path: Path) -> tuple[Run, Path, FileSender, MessageBox]:
    """A run under way, the folder of its node, and what sends it."""
    storage, folder = tmp_path / "storage", tmp_path / "of-a-node"
    storage.mkdir()
    folder.mkdir()
    settings.STORAGE = str(storage)
    run = make_run(state=Run.State.RUNNING)
    Attempt.objects.create(
        run=run, number=1, state=Attempt.State.RUNNING, worker="w", launcher="ray", lease_expires_at=timezone.now()
    )
    box = MessageBox(FileSystem(str(storage)), box_name(run.path, stored_runs.identity_of(run)))
    return run, folder, FileSender(box, folder, 1), box


def send(sender: FileSender, box: MessageBox) -> None:
    box.write("out-1.json", {"files": sender.send()})


def test_a_page_and_a_download_show_what_was_sent_so_far(client, sent) -> None:
    run, folder, sender, box = sent
    sign_in(client, run.project, "researcher")
    log = folder / "log.txt"
    for lines in ("loading the model\n", "step 1: loss 2.3\n"):
        with log.open("a") as file:
            file.write(lines)
        send(sender, box)
    page = client.get(reverse("run", args=[run.pk]), {"tab": "log"}).content.decode()
    assert "loading the model\nstep 1: loss 2.3" in page
    answer = client.get(reverse("run-log", args=[run.pk]))
    assert b"".join(answer.streaming_content).decode() == log.read_text()
    with log.open("a") as file:
        file.write("step 2: loss 2.1\n")
    send(sender, box)
    assert "step 2: loss 2.1" in client.get(reverse("run", args=[run.pk]), {"tab": "log"}).content.decode()


def test_a_storage_that_does_not_answer_costs_the_page_its_log_alone(client, sent, settings: Any, monkeypatch) -> None:
    monkeypatch.setattr("training.runs.present.run_page.live_log._PATIENCE", 0.1)
    run = sent[0]
    Path(settings.STORAGE).rename(f"{settings.STORAGE}-away")
    sign_in(client, run.project, "researcher")
    assert client.get(reverse("run", args=[run.pk]), {"tab": "log"}).status_code == 200


def test_files_that_grow_are_cut_and_replaced_arrive_as_they_are(sent, tmp_path: Path) -> None:
    _, folder, sender, box = sent
    arrived = tmp_path / "of-the-worker"
    arrived.mkdir()
    receiver = FileReceiver(box, arrived, 1)

    def assert_same() -> None:
        assert receiver.receive(sender.send()) == []
        names = sorted(path.name for path in folder.iterdir())
        assert sorted(path.name for path in arrived.iterdir()) == names
        assert all((arrived / name).read_bytes() == (folder / name).read_bytes() for name in names)

    for step in range(3):
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(f'{{"step": {step}}}\n')
        (folder / "progress.json").write_text(f'{{"step": {step}}}')
        assert_same()
    inode = (arrived / "metrics.jsonl").stat().st_ino
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3}\n')
    assert_same()
    assert (arrived / "metrics.jsonl").stat().st_ino == inode, "what was read is not read again"
    (folder / ".metrics").write_text('{"step": 0}\n')
    (folder / ".metrics").rename(folder / "metrics.jsonl")  # as a recipe that goes on from a checkpoint cuts it
    assert_same()
    assert (arrived / "metrics.jsonl").stat().st_ino != inode
    another = FileReceiver(box, arrived, 1)  # of a worker that adopts the run
    inode = (arrived / "metrics.jsonl").stat().st_ino
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 1}\n')
    assert another.receive(sender.send()) == [] and (arrived / "metrics.jsonl").stat().st_ino == inode


def test_names_that_lead_out_of_the_directory_are_left_out(sent, tmp_path: Path) -> None:
    _, _, _, box = sent
    arrived = tmp_path / "a" / "b"
    arrived.mkdir(parents=True)
    names = ("../out.json", "config.json", "lock", ".hidden", "node/end-1.json")
    assert FileReceiver(box, arrived, 1).receive({name: {"text": "x"} for name in names}) == []
    assert list(arrived.iterdir()) == [] and list(arrived.parent.iterdir()) == [arrived]
