"""Run REINFORCE leave-one-out with TRL: `python -m training.recipes.rloo RUN_DIR`.

Several answers to each prompt; the baseline of each is the mean score of the others (Ahmadian 2024, 2402.14740). The
KL from the parent is part of the reward, as in PPO, but for the answer as a whole. No value function.
`training.recipes.preference.group_policy` says where prompts and scores come from, and what an interruption costs. Left
out: several updates of one batch, vLLM.
"""

from __future__ import annotations

from trl import RLOOConfig as TrainerConfig
from trl import RLOOTrainer

from training.configs import RLOOConfig
from training.core.run_directory import RunDirectory, RunSpec
from training.recipes.common.entry import config_of, run_recipe
from training.recipes.preference.group_policy import carry_out


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: RLOOConfig = config_of(spec)
    options = {"normalize_advantages": config.normalise_advantages}
    carry_out(run, spec, config, RLOOTrainer, TrainerConfig, options)


if __name__ == "__main__":
    run_recipe(main)
