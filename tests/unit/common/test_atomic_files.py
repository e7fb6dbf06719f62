"""A file is replaced whole or not at all, however its writer ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from common import atomic_files

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (folder := tmp_path / "run").mkdir()
    return folder


def test_a_file_is_written_and_written_again(folder: Path) -> None:
    path = folder / "fit.json"
    for text in ("one", "zwölf"):
        atomic_files.write_text(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert list(folder.iterdir()) == [path]


def test_an_error_in_the_middle_leaves_the_old_file(folder: Path) -> None:
    path = folder / "rows.jsonl"
    path.write_text("old")
    with pytest.raises(ValueError), atomic_files.replacing(path) as partial, partial.open("w") as file:
        file.write("half of the new")
        file.flush()
        assert path.read_text() == "old"
        raise ValueError
    assert path.read_text() == "old" and list(folder.iterdir()) == [path]


def test_a_crash_in_the_middle_leaves_the_old_file(folder: Path) -> None:
    path = folder / "rows.jsonl"
    path.write_text("old")
    program = f"""
import os, signal
from pathlib import Path
from common import atomic_files
with atomic_files.replacing(Path({str(path)!r})) as partial:
    partial.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == -9
    assert path.read_text() == "old"
    atomic_files.write_text(path, "new")  # what was left beside it is in nobody's way
    assert path.read_text() == "new" and list(folder.iterdir()) == [path]


def test_writers_of_one_file_write_under_names_of_their_own(folder: Path) -> None:
    path = folder / "failure.json"
    with atomic_files.replacing(path, writer="1") as one, atomic_files.replacing(path, writer="2") as two:
        one.write_text("of one")
        two.write_text("of two")
    assert path.read_text() == "of one", "whoever ends last has the last word"


@pytest.mark.parametrize(("is_synced", "syncs"), [(True, 1), (False, 0)])
def test_it_is_brought_to_the_disk_before_it_has_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, is_synced: bool, syncs: int
) -> None:
    path, seen = folder / "result.json", []
    monkeypatch.setattr("os.fsync", lambda _: seen.append(path.exists()))
    atomic_files.write_text(path, "{}", is_synced=is_synced)
    assert seen == [False] * syncs and path.exists()
