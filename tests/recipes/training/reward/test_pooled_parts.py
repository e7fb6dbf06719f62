"""Pooled features in checkpoints: each row is written once, every checkpoint is whole, older ones are read."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from training.core.run_directory import RunDirectory
from training.recipes.reward import pooled_forwards, pooled_parts
from training.recipes.reward.answers.sequences import Sequences

ROWS, WIDTH = 40, 4
TRUNK = SimpleNamespace(device=torch.device("cpu"), config=SimpleNamespace(hidden_size=WIDTH))
SEQUENCES = Sequences({n: [1] * 1000 for n in range(ROWS)}, [[2]] * ROWS, list(range(ROWS)))  # a batch each


@pytest.fixture
def run(tmp_path, monkeypatch) -> RunDirectory:
    monkeypatch.setattr(pooled_forwards, "pooled_batch", features)
    monkeypatch.setattr(pooled_forwards, "CHECKPOINT_EVERY", 3)
    return RunDirectory(tmp_path)


def features(_trunk, _sequences, rows: list[int], *_: object) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32)[:, None].expand(-1, WIDTH)


def read(run: RunDirectory) -> torch.Tensor:
    values, _ = pooled_forwards.pooled_features(run, TRUNK, SEQUENCES, ((1, "mean"),), size=1, pad=0)
    return values.whole()


def files(run: RunDirectory) -> list[Path]:
    latest = run.latest_checkpoint()
    assert latest is not None
    return sorted(latest.glob("pooled*"))


def test_every_row_is_written_once_however_many_checkpoints(run, monkeypatch):
    written: list[int] = []
    save = pooled_parts.save_file
    monkeypatch.setattr(
        pooled_parts, "save_file", lambda rows, path: written.append(len(rows["pooled"])) or save(rows, path)
    )
    assert torch.equal(read(run)[:, 0], torch.arange(ROWS).float())
    assert sum(written) == ROWS and max(written) == 3
    assert len(files(run)) == 14 and all(path.stat().st_nlink == 1 for path in files(run))


def test_many_batches_have_few_checkpoints(run, monkeypatch):
    monkeypatch.setattr(pooled_forwards, "MOST_CHECKPOINTS", 4)
    read(run)
    assert len(files(run)) == 4


def test_a_run_that_was_cut_reads_what_was_kept_and_goes_on(run, monkeypatch):
    seen: list[int] = []

    def dies_at_the_twentieth(*given):
        seen.append(given[2][0])
        if len(seen) == 20:
            raise KeyboardInterrupt
        return features(*given)

    monkeypatch.setattr(pooled_forwards, "pooled_batch", dies_at_the_twentieth)
    with pytest.raises(KeyboardInterrupt):
        read(run)
    assert torch.equal(read(run)[:, 0], torch.arange(ROWS).float())
    assert len(seen) == 20 + ROWS - 18


@pytest.mark.parametrize("is_done", [True, False])
def test_a_checkpoint_of_an_earlier_version_is_read_and_goes_on_in_parts(run, is_done):
    step = ROWS if is_done else 6
    old = torch.zeros(ROWS, WIDTH)
    batches = SEQUENCES.batches(1, 1024)
    for rows in batches[:step]:
        old[rows] = torch.tensor(rows, dtype=torch.float32)[:, None]
    save_file({"pooled": old}, run.begin_checkpoint(step) / pooled_parts.WHOLE)
    run.commit_checkpoint(step)
    for _ in range(2):  # the second time from what the first wrote
        assert torch.equal(read(run)[:, 0], torch.arange(ROWS).float())
    assert [path.name for path in files(run)][:1] == [pooled_parts.WHOLE if is_done else "pooled-000009.safetensors"]


def test_without_hard_links_parts_are_copied(run, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert torch.equal(read(run)[:, 0], torch.arange(ROWS).float())
    assert torch.equal(read(run)[:, 0], torch.arange(ROWS).float()) and len(files(run)) == 14


def test_a_later_checkpoint_carries_all_features(run, tmp_path):
    read(run)
    latest = run.latest_checkpoint()
    assert latest is not None
    pooled_parts.link_features(latest, run.begin_checkpoint(100))
    run.commit_checkpoint(100, keep=1)
    assert torch.equal(read(run)[:, 0], torch.arange(ROWS).float())
