"""A node's disk keeps so much of earlier runs, and nothing goes that a run may read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.file_lock import try_lock
from training.runs.launchers.node_files import End
from training.runs.launchers.storage_relay import node_cache
from training.runs.launchers.storage_relay.node_relay import NodeRelay


@pytest.fixture
def root(tmp_path) -> Path:
    root = tmp_path / "node"
    for number, name in enumerate(("models/old", "runs/000001-a", "models/new", "runs/000002-b")):
        (root / name).mkdir(parents=True)
        (root / name / "file").write_bytes(b"x" * 100)
        os.utime(root / name, (number, number))
    (root / ".run.0123").mkdir()
    return root


def left(root: Path) -> list[str]:
    return sorted(
        path.relative_to(root).as_posix() for kind in root.iterdir() if kind.is_dir() for path in kind.iterdir()
    )


def test_the_longest_unused_goes_first_and_the_run_s_own_directory_stays(root):
    node_cache.note_use(root, "models/old/adapter")
    with node_cache.enter(root, root / "runs" / "000001-a", limit_bytes=250):
        assert left(root) == ["models/old", "runs/000001-a", "runs/000002-b"]
        assert not (root / ".run.0123").exists()


def test_nothing_goes_while_another_run_is_on_the_node(root):
    own = root / "runs" / "000002-b"
    with node_cache.enter(root, own, float("inf")), node_cache.enter(root, own, limit_bytes=0):
        assert len(left(root)) == 4
    with node_cache.enter(root, own, limit_bytes=0):
        assert left(root) == ["runs/000002-b"]


def test_the_directory_of_a_run_that_begins_stays(root, tmp_path):
    """It waits for its worker, or for an earlier attempt, and does not hold the lock of the node yet."""
    own, waits, ends = (root / "runs" / name for name in ("000003-c", "000001-a", "000002-b"))
    (waits / "node").mkdir()
    (tmp_path / "storage").mkdir()
    with (ends / "lock").open("w") as lock:
        assert try_lock(lock)
        for path in (waits, ends):
            os.utime(path, (0, 0))
        relay = NodeRelay(str(tmp_path / "storage"), f"nodes/{waits.name}", root, 1)
        relay.start(60.0)
        with node_cache.enter(root, own, limit_bytes=0):
            assert left(root) == ["runs/000001-a", "runs/000002-b"]
        relay.close(End(1, 0))
    with node_cache.enter(root, own, limit_bytes=0):
        assert left(root) == ["runs/000001-a"], "the other's attempt is over"


def test_what_is_used_during_the_cleaning_stays(root, monkeypatch):
    delete = node_cache._delete

    def use_another_meanwhile(path):
        delete(path)
        node_cache.note_use(root, "models/new")

    monkeypatch.setattr(node_cache, "_delete", use_another_meanwhile)
    (root / ".run.0123").rmdir()
    with node_cache.enter(root, root / "runs" / "000002-b", limit_bytes=0):
        assert left(root) == ["models/new", "runs/000002-b"]
