"""Run group relative policy optimisation: `python -m training.recipes.grpo RUN_DIR`.

Several answers to each prompt; the advantage of each is its score less its group's mean, over the group's deviation
(Shao 2024, 2402.03300; without the division, Dr. GRPO, 2503.20783). No value function.
`training.recipes.group.group_policy` says where prompts and scores come from, and what an interruption costs.
"""

from __future__ import annotations

from training.core.run_directory import RunDirectory, RunSpec
from training.recipes.common.entry import config_of, run_recipe
from training.recipes.group.group_objectives import GRPO
from training.recipes.group.group_policy import carry_out


def main(run: RunDirectory, spec: RunSpec) -> None:
    config = config_of(spec)
    carry_out(run, spec, config, GRPO(config))


if __name__ == "__main__":
    run_recipe(main)
