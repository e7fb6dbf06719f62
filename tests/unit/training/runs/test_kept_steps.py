"""Which steps a run keeps the models of."""

from __future__ import annotations

from pathlib import Path

import pytest

from training import configs
from training.core import kept_steps
from training.core.kept_steps import steps_to_keep
from training.core.run_directory import RunDirectory


@pytest.mark.parametrize(
    "count, total, steps",
    [(0, 80, []), (1, 80, [40]), (3, 80, [20, 40, 60]), (2, 10, [3, 7]), (5, 3, [1, 2]), (4, 1, []), (20, 2, [1])],
)
def test_they_are_evenly_spaced_each_once_and_never_the_last(count, total, steps):
    assert steps_to_keep(count, total) == steps


def test_the_kinds_whose_policies_compete_have_the_option():
    for kind in ("pretrain", "domain", "sft", "dpo", "kto", "grpo", "rloo", "ppo"):
        assert configs.parse(kind, {"kept_checkpoints": 3}).kept_checkpoints == 3
        with pytest.raises(configs.ConfigError, match="kept_checkpoints: must be between 0 and 20"):
            configs.parse(kind, {"kept_checkpoints": 21})


def test_what_somebody_has_set_aside_beside_the_checkpoints_is_none(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for folder in (run.checkpoints, tmp_path / kept_steps.FOLDER):
        for name in ("step-000002", "step-1000000", "step-000004.broken", "step-000006 (copy)"):
            (folder / name).mkdir(parents=True)
    assert [path.name for path in run.complete_checkpoints()] == ["step-000002", "step-1000000"]
    assert [path.name for path in kept_steps.models(run)] == ["step-000002", "step-1000000"]
