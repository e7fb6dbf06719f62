"""Run group relative policy optimisation with TRL: `python -m training.recipes.grpo RUN_DIR`.

Several answers to each prompt; the advantage of each is its score less its group's mean, over the group's deviation
(Shao 2024, 2402.03300; without the division, Dr. GRPO, 2503.20783). No value function.
`training.recipes.preference.group_policy` says where prompts and scores come from, and what an interruption costs. Left
out: several updates of one batch, vLLM.
"""

from __future__ import annotations

from trl import GRPOConfig as TrainerConfig
from trl import GRPOTrainer

from training.configs import GRPOConfig
from training.core.run_directory import RunDirectory, RunSpec
from training.recipes.common.entry import config_of, run_recipe
from training.recipes.preference.group_policy import carry_out


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: GRPOConfig = config_of(spec)
    options = {"scale_rewards": config.scale_rewards, "loss_type": config.loss}
    carry_out(run, spec, config, GRPOTrainer, TrainerConfig, options)


if __name__ == "__main__":
    run_recipe(main)
