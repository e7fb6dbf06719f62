"""Direct preference optimisation with TRL: `python -m training.recipes.dpo RUN_DIR`.

Learns from the decided comparisons of `data/comparisons.jsonl` at once, without a reward model (Rafailov 2023,
2305.18290): the policy's likelihood of the chosen answer, relative to the parent's, is to rise above that of the
rejected one. The parent is the same model with its adapters disabled, or a frozen copy of it when every weight is
trained. Ties make no pair. On held-out prompts the implicit reward is measured against the votes afterwards; before, it
is 0 for every answer. Left out: thumbs and stars (see KTO and the reward model), strength of preference.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from trl import DPOConfig as TrainerConfig
from trl import DPOTrainer

from training.configs import DPOConfig
from training.configs.preference import FEWEST_PAIRS
from training.core.run_directory import RecipeFailure, Row, RunDirectory, RunSpec
from training.recipes.common.entry import config_of, run_recipe
from training.recipes.preference import preference_policy
from training.recipes.preference.preference_data import Judgements


class Trainer(DPOTrainer):
    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset  # token ids already, the same ids that the policy meets when it answers


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: DPOConfig = config_of(spec)
    work = preference_policy.load(run, spec, config)
    data = work.data
    pairs = training_pairs(data)
    preference_policy.carry_out(
        work, spec, config, examples=examples(data, pairs), learnt_from=pairs[:, 0],
        phase="Learning from pairs", trainer_class=Trainer, args=trainer_config(run, spec, config, len(pairs)),
        counts={"pairs": len(pairs), "held_out_pairs": len(data.pairs) - len(pairs)},
    )  # fmt: skip


def training_pairs(data: Judgements) -> np.ndarray:
    """Return (P, 2) the decided comparisons on training prompts. Raises RecipeFailure when there are too few."""
    pairs = data.training_pairs()
    if len(pairs) < FEWEST_PAIRS:
        raise RecipeFailure(
            "too_few_pairs",
            f"There are {len(pairs)} comparisons with a winner for training; at least {FEWEST_PAIRS} are needed.",
            "Collect more comparisons, then freeze the dataset again; for thumbs only, use KTO.",
        )
    return pairs


def examples(data: Judgements, pairs: np.ndarray) -> Iterator[Row]:
    """Yield one example for each of the pairs (P, 2)."""
    for chosen, rejected in pairs.tolist():
        yield {
            "prompt_ids": data.prompts[chosen],
            "chosen_ids": data.completions[chosen],
            "rejected_ids": data.completions[rejected],
        }


def trainer_config(run: RunDirectory, spec: RunSpec, config: DPOConfig, count: int) -> TrainerConfig:
    return TrainerConfig(
        **preference_policy.arguments(run, spec, config, count),
        loss_type=[config.loss],
        label_smoothing=config.label_smoothing,
    )


if __name__ == "__main__":
    run_recipe(main)
