"""Run REINFORCE leave-one-out: `python -m training.recipes.rloo RUN_DIR`.

Several answers to each prompt; the baseline of each is the mean score of the others (Ahmadian 2024, 2402.14740). The
KL from the parent is part of the reward, as in PPO, but for the answer as a whole. No value function.
`training.recipes.group.group_policy` says where prompts and scores come from, and what an interruption costs.
"""

from __future__ import annotations

from training.core.run_directory import RunDirectory, RunSpec
from training.recipes.common.entry import config_of, run_recipe
from training.recipes.group.group_objectives import RLOO
from training.recipes.group.group_policy import carry_out


def main(run: RunDirectory, spec: RunSpec) -> None:
    config = config_of(spec)
    carry_out(run, spec, config, RLOO(config))


if __name__ == "__main__":
    run_recipe(main)
