"""Which steps a run keeps the models of."""

from __future__ import annotations

import pytest

from training import configs
from training.core.kept_steps import steps_to_keep


@pytest.mark.parametrize(
    "count, total, steps",
    [(0, 80, []), (1, 80, [40]), (3, 80, [20, 40, 60]), (2, 10, [3, 7]), (5, 3, [1, 2]), (4, 1, []), (20, 2, [1])],
)
def test_they_are_evenly_spaced_each_once_and_never_the_last(count, total, steps):
    assert steps_to_keep(count, total) == steps


def test_the_kinds_whose_policies_compete_have_the_option():
    for kind in ("sft", "dpo", "kto", "grpo", "rloo", "ppo", "domain"):
        assert configs.parse(kind, {"kept_checkpoints": 3}).kept_checkpoints == 3
        with pytest.raises(configs.ConfigError, match="kept_checkpoints: must be between 0 and 20"):
            configs.parse(kind, {"kept_checkpoints": 21})
