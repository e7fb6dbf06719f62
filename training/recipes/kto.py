"""Kahneman-Tversky optimisation with TRL: `python -m training.recipes.kto RUN_DIR`.

Learns from the thumbs of `data/ratings.jsonl` at once, without pairs and without a reward model (Ethayarajh 2024,
2402.01306): answers with a thumb up are to become likelier than the parent has them, those with a thumb down less
likely, both measured from how far the policy has moved as a whole (the KL estimated from mismatched answers).
A thumb is an annotation of one answer and is never turned into a win over another. On held-out prompts the implicit
reward is measured against thumbs and pairs. Left out: stars, comparisons.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from trl import KTOConfig as TrainerConfig
from trl import KTOTrainer

from training.configs import KTOConfig
from training.configs.preference import FEWEST_OF_EACH
from training.core.run_directory import RecipeFailure, Row, RunDirectory, RunSpec
from training.recipes.common.entry import config_of, run_recipe
from training.recipes.preference import preference_policy
from training.recipes.preference.preference_data import Judgements


class Trainer(KTOTrainer):
    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset  # token ids already, the same ids that the policy meets when it answers


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: KTOConfig = config_of(spec)
    work = preference_policy.load(run, spec, config)
    data = work.data
    thumbs = training_thumbs(data, spec.seed)
    ups = int(thumbs[:, 1].sum())
    downs = len(thumbs) - ups
    preference_policy.carry_out(
        work, spec, config, examples=examples(data, thumbs),
        learnt_from=data.training_thumbs()[:, 0], phase="Learning from thumbs",
        trainer_class=Trainer, args=trainer_config(run, spec, config, ups, downs),
        counts={"thumbs_up": ups, "thumbs_down": downs, "held_out_thumbs": len(data.thumbs) - len(thumbs)},
    )  # fmt: skip


def training_thumbs(data: Judgements, seed: int) -> np.ndarray:
    """Return (T, 2) the thumbs on training prompts, shuffled. Raises RecipeFailure when there are too few."""
    thumbs = data.training_thumbs()
    ups = int(thumbs[:, 1].sum())
    if min(ups, len(thumbs) - ups) < FEWEST_OF_EACH:
        raise RecipeFailure(
            "too_few_thumbs",
            f"The dataset has {ups} thumbs up and {len(thumbs) - ups} down for training; at least {FEWEST_OF_EACH} "
            "of each are needed.",
            "Rate more answers, then freeze the dataset again; for comparisons use DPO.",
        )
    return np.random.default_rng(seed).permutation(thumbs)


def examples(data: Judgements, thumbs: np.ndarray) -> Iterator[Row]:
    """Yield one example for each of the thumbs (T, 2), with an answer to another prompt for the KL estimate."""
    mismatched = mismatches(thumbs[:, 0], data.prompt_ids)
    for (answer, up), other in zip(thumbs.tolist(), mismatched.tolist(), strict=True):
        yield {
            "prompt_ids": data.prompts[answer],
            "completion_ids": data.completions[answer],
            "KL_completion_ids": data.completions[other],
            "label": bool(up),
        }


def mismatches(answers: np.ndarray, prompt_ids: np.ndarray) -> np.ndarray:
    """Return for each of the answers (T,), in a shuffled order, the nearest before it that answers another prompt.

    The paper moves them on by one place; two of three thumbs in a row may be of one answer. With one prompt alone
    nothing else is there, and an answer is its own.
    """
    mismatched = np.roll(answers, 1)
    for back in range(2, len(answers) + 1):
        same = prompt_ids[mismatched] == prompt_ids[answers]
        if not same.any():
            break
        mismatched = np.where(same, np.roll(answers, back), mismatched)
    return mismatched


def weights(ups: int, downs: int) -> tuple[float, float]:
    """Return (desirable, undesirable): the rarer kind counts more, so that both sums are alike (eq. 8 of the paper)."""
    return (1.0, ups / downs) if ups >= downs else (downs / ups, 1.0)


def trainer_config(run: RunDirectory, spec: RunSpec, config: KTOConfig, ups: int, downs: int) -> TrainerConfig:
    desirable, undesirable = weights(ups, downs) if config.balance else (1.0, 1.0)
    return TrainerConfig(
        **preference_policy.arguments(run, spec, config, ups + downs),
        desirable_weight=desirable,
        undesirable_weight=undesirable,
    )


if __name__ == "__main__":
    run_recipe(main)
