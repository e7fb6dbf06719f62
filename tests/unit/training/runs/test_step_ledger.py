"""The ledger says which process of a run started, and took which step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.core import step_ledger
from training.core.run_directory import RunDirectory


def test_each_step_is_appended_with_the_token_of_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, run = tmp_path / "steps.jsonl", RunDirectory(tmp_path)
    run.log_metrics(1, loss=2.0)
    assert not ledger.exists(), "nobody asked for it"
    monkeypatch.setenv(step_ledger.VARIABLE, str(ledger))
    for step in (2, 3):
        run.log_metrics(step, loss=2.0)
    run.log_completions({"prompt_id": 1}, {"prompt_id": 2})
    monkeypatch.setattr(step_ledger, "_token", "another")
    run.log_metrics(3, loss=2.0)
    rows = [json.loads(line) for line in ledger.read_text().splitlines()]
    steps = [(row["what"], row["step"]) for row in rows]
    assert steps == [("metrics", 2), ("metrics", 3), ("completions", 2), ("metrics", 3)]
    assert {row["run"] for row in rows} == {tmp_path.name}
    assert len({row["token"] for row in rows[:3]}) == 1 and rows[3]["token"] == "another"


def test_a_ledger_that_cannot_be_written_stops_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(step_ledger.VARIABLE, str(tmp_path / "nowhere" / "steps.jsonl"))
    RunDirectory(tmp_path).log_metrics(1, loss=2.0)
    assert (tmp_path / "metrics.jsonl").exists()
