"""The node's side of an attempt without a shared folder: what is stored, and when."""

from __future__ import annotations

import json
import threading
import time
from itertools import count
from pathlib import Path

import pytest

from common.artefacts.artefact_store import ArtefactStore
from common.artefacts.file_systems import FileSystem
from tests.support.processes import until
from training.core import run_artefact
from training.core.run_directory import RunDirectory
from training.runs.launchers.heartbeat_watch import HeartbeatWatch
from training.runs.launchers.node_files import End, Heartbeat, NodeFiles, Report
from training.runs.launchers.over_nodes.relays import MemberRelay, PlacedRelay, member_folder
from training.runs.launchers.storage_relay.message_box import MessageBox
from training.runs.launchers.storage_relay.node_inputs import INPUTS_RULES, Inputs
from training.runs.launchers.storage_relay.node_relay import NodeRelay

BOX = "nodes/000001-a"


@pytest.fixture
def store(tmp_path: Path) -> ArtefactStore:
    """A storage with the inputs of a run, and the run as it stood at step 10."""
    (tmp_path / "storage").mkdir()
    store = ArtefactStore(FileSystem(str(tmp_path / "storage")))
    laid = tmp_path / "laid"
    checkpoint(laid, 10)
    store.put("runs/000001", laid, run_artefact.RULES)
    (laid / "config.json").write_text(json.dumps({"kind": "sft", "config": {}}))
    Inputs(str(tmp_path)).write(laid)
    store.put("inputs/000001-a", laid, INPUTS_RULES)
    return store


def checkpoint(folder: Path, step: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "identity").write_text("run 1")
    run = RunDirectory(folder)
    (run.begin_checkpoint(step) / "state.pt").write_text(str(step))
    run.commit_checkpoint(step)  # at once, as a recipe does: a relay may look at any moment


def stored_step(store: ArtefactStore) -> int:
    return run_artefact.newest_step(store.manifest("runs/000001"))


def box_of(tmp_path: Path) -> MessageBox:
    return MessageBox(FileSystem(str(tmp_path / "storage")), BOX)


def test_what_an_earlier_attempt_left_replaces_nothing_that_another_node_has_stored_since(tmp_path, store):
    relay = NodeRelay(store.address, BOX, tmp_path / "node", 3)
    checkpoint(relay.directory, 4)
    relay.start(0.02)
    time.sleep(0.3)
    assert stored_step(store) == 10
    relay.bring(HeartbeatWatch(3, 60.0, 1.0))
    assert relay.resumed_step() == 10
    checkpoint(relay.directory, 12)
    until(lambda: stored_step(store) == 12, 60)
    relay.close(End(3, 0))


def test_a_checkpoint_is_stored_by_a_storage_that_is_slower_than_the_recipe(tmp_path, store, monkeypatch):
    """Three more are made, and the first ones deleted, while one file is on its way."""
    relay = NodeRelay(store.address, BOX, tmp_path / "node", 3)
    run, steps, write = RunDirectory(relay.directory), count(20), FileSystem.write
    one_recipe = threading.Lock()  # this thread and the relay's would delete one old checkpoint both

    def commit(step: int) -> None:
        with one_recipe:
            folder = run.begin_checkpoint(step)
            for part in range(3):
                (folder / f"{part}.pt").write_text(f"{step} {part}")
            run.commit_checkpoint(step)

    def slowly(files, name, blocks):
        if name.startswith("own/"):
            for _ in range(3):
                commit(next(steps))
        write(files, name, blocks)

    relay.start(0.02)
    relay.bring(HeartbeatWatch(3, 60.0, 1.0))
    monkeypatch.setattr(FileSystem, "write", slowly)
    commit(12)
    until(lambda: stored_step(store) > 20, 60)
    relay.close(End(3, 0))
    manifest = store.fetch("runs/000001", tmp_path / "back")
    step = run_artefact.newest_step(manifest)
    latest = RunDirectory(tmp_path / "back").latest_checkpoint()
    assert {path.name: path.read_text() for path in latest.iterdir()} == {f"{n}.pt": f"{step} {n}" for n in range(3)}
    assert not list(relay.directory.glob(".snapshot-*"))


def test_all_parts_of_a_run_begin_with_what_is_stored_and_the_first_alone_stores(tmp_path, store):
    first, second = (MemberRelay(store.address, BOX, tmp_path / f"disk-{rank}", 3, rank) for rank in (0, 1))
    checkpoint(second.directory, 14)  # of an attempt that was lost before this was stored
    for relay in (first, second):
        relay.start(0.02)
        relay.bring(HeartbeatWatch(3, 60.0, 1.0))
        assert relay.resumed_step() == 10
    checkpoint(second.directory, 16)
    checkpoint(first.directory, 12)
    until(lambda: stored_step(store) == 12, 60)
    time.sleep(0.2)
    assert stored_step(store) == 12
    for relay in (first, second):
        relay.close(End(3, 0))


def test_who_placed_the_parts_hears_of_each_tells_the_worker_and_ends_them(tmp_path, store):
    parts = [MemberRelay(store.address, BOX, tmp_path / f"disk-{rank}", 3, rank) for rank in (0, 1)]
    placed = PlacedRelay(store.address, BOX, tmp_path / "disk-2", 3, 2)
    placed.bring(HeartbeatWatch(3, 60.0, 1.0))
    NodeFiles(member_folder(placed.directory, 0), 2).beat(0, 5.0)  # the attempt before was ended from here
    for rank, relay in enumerate(parts):
        files = NodeFiles(member_folder(relay.directory, rank), 3)
        files.folder.mkdir(parents=True)
        files.write_report(Report(3, 1, host=f"host-{rank}", resumed_step=10))
        relay.start(0.02)
    (parts[0].directory / "metrics.jsonl").write_text("{}\n")
    (parts[1].directory / "failure.json").write_text('{"code": "not_finite"}')
    placed.start(0.02)
    heard = [NodeFiles(member_folder(placed.directory, rank), 3) for rank in (0, 1)]
    until(lambda: all(files.report() for files in heard), 60)
    assert [files.report().host for files in heard] == ["host-0", "host-1"]
    until(
        lambda: set((box_of(tmp_path).read("out-3.json") or {}).get("files", ())) == {"metrics.jsonl", "failure.json"},
        60,
    )
    assert box_of(tmp_path).read("stop-3.json") is None
    for files in heard:
        files.beat(0, 5.0)
    own = NodeFiles(member_folder(parts[1].directory, 1), 3)
    until(lambda: own.heartbeat() == Heartbeat(3, 0, 5.0), 60, "the second part is asked to end")
    for relay in parts:
        relay.close(End(3, 0, model_hash="ab"))
    until(lambda: all(files.end() for files in heard), 60)
    assert placed.keep(HeartbeatWatch(3, 60.0, 1.0), is_needed=True) == "ab"
    placed.close(End(3, 0))
