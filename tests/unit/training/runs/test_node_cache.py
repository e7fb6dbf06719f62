"""A node's disk keeps so much of earlier runs, and nothing goes that a run may read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from training.runs.launchers.storage_relay import node_cache


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
