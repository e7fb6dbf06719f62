"""Kahneman-Tversky optimisation: `python -m training.recipes.kto RUN_DIR`.

Learns from the thumbs of `data/ratings.jsonl` at once, without pairs and without a reward model (Ethayarajh 2024,
2402.01306): answers with a thumb up are to become likelier than the parent has them, those with a thumb down less
likely, both measured from how far the policy has moved as a whole (the KL estimated from mismatched answers).
A thumb is an annotation of one answer and is never turned into a win over another. On held-out prompts the implicit
reward is measured against thumbs and pairs. Left out: stars, comparisons.
"""

from __future__ import annotations

import numpy as np

from training.configs import KTOConfig
from training.configs.preference import FEWEST_OF_EACH
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec
from training.recipes.common.entry import config_of, run_recipe
from training.recipes.preference import preference_policy
from training.recipes.preference.answer_examples import AnswerPlaces, places_of
from training.recipes.preference.preference_data import Judgements
from training.recipes.preference.preference_objectives import Thumbs


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: KTOConfig = config_of(spec)
    work = preference_policy.load(run, spec, config)
    data = work.data
    objective, places = thumbs_of(data, config, spec.seed)
    count, ups = len(objective.ups), int(objective.ups.sum())
    counts = {"thumbs_up": ups, "thumbs_down": count - ups, "held_out_thumbs": len(data.thumbs) - count}
    preference_policy.carry_out(work, objective, places, phase="Learning from thumbs", counts=counts)


def thumbs_of(data: Judgements, config: KTOConfig, seed: int) -> tuple[Thumbs, AnswerPlaces]:
    """Return what is learnt, and where its answers are: each to its own prompt, and another's to it for the KL."""
    thumbs = training_thumbs(data, seed)
    answers, ups = thumbs[:, 0], thumbs[:, 1] == 1
    elsewhere = np.stack([answers, mismatches(answers, data.prompt_ids)], 1)
    places = places_of(np.concatenate([answers, data.held_out_completions()]), elsewhere)
    up_count = int(ups.sum())
    return Thumbs(
        answers=places.of(answers)[:, None],
        elsewhere=len(places.own) + np.arange(len(answers)),
        ups=ups,
        beta=config.beta,
        weights=weights(up_count, len(ups) - up_count) if config.balance else (1.0, 1.0),
    ), places


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


if __name__ == "__main__":
    run_recipe(main)
