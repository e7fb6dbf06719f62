"""The node's side of an attempt without a shared folder: what is stored, and when."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from common.artefacts.artefact_store import ArtefactStore
from common.artefacts.file_systems import FileSystem
from tests.support.processes import until
from training.core import run_artefact
from training.runs.launchers.heartbeat_watch import HeartbeatWatch
from training.runs.launchers.node_files import End
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
    path = folder / "checkpoints" / f"step-{step:06d}"
    path.mkdir(parents=True)
    (path / "state.pt").write_text(str(step))
    (folder / "identity").write_text("run 1")


def stored_step(store: ArtefactStore) -> int:
    return run_artefact.newest_step(store.manifest("runs/000001"))


def test_what_an_earlier_attempt_left_replaces_nothing_that_another_node_has_stored_since(tmp_path, store):
    relay = NodeRelay(store.address, BOX, tmp_path / "node", 3)
    checkpoint(relay.directory, 4)
    relay.start(0.02)
    time.sleep(0.3)
    assert stored_step(store) == 10
    relay.bring(HeartbeatWatch(3, 60.0, 1.0))
    assert relay.resumed_step() == 10
    checkpoint(relay.directory, 12)
    until(lambda: stored_step(store) == 12, 10)
    relay.close(End(3, 0))
