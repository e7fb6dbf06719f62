"""A recipe that is killed as it ends has either all that its checkpoint points at, or a result."""

from __future__ import annotations

import pytest

from training.core import run_directory
from training.core.run_directory import NEEDED_ON_THE_WAY, RunDirectory, RunSpec
from training.recipes.common import entry


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.create(RunSpec("sample", {}, seed=1, parent=""), {})
    for name in NEEDED_ON_THE_WAY:
        (run.path / name).mkdir()
        (run.path / name / "rows").write_text("1")
    return run


def left(run: RunDirectory) -> list[str]:
    return [name for name in NEEDED_ON_THE_WAY if (run.path / name).exists()]


def test_nothing_goes_before_the_result_stands(run, monkeypatch):
    def dies(*_given, **_named):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_directory.atomic_files, "write_text", dies)
    with pytest.raises(KeyboardInterrupt):
        run.finish({"steps": 1})
    assert left(run) == list(NEEDED_ON_THE_WAY)


def test_an_attempt_after_the_result_removes_what_was_left(run, monkeypatch):
    monkeypatch.setattr(RunDirectory, "remove_needed_on_the_way", lambda self: None)  # killed here
    run.finish({"steps": 1})
    monkeypatch.undo()
    assert left(run) == list(NEEDED_ON_THE_WAY)
    assert entry.attempt(lambda run, spec: pytest.fail("worked again"), run) == 0
    assert left(run) == []


def test_a_result_removes_what_was_needed_on_the_way(run):
    run.finish({"steps": 1})
    assert run.result() == {"steps": 1} and left(run) == []
