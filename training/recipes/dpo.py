"""Direct preference optimisation: `python -m training.recipes.dpo RUN_DIR`.

Learns from the decided comparisons of `data/comparisons.jsonl` at once, without a reward model (Rafailov 2023,
2305.18290): the policy's likelihood of the chosen answer, relative to the parent's, is to rise above that of the
rejected one. Ties make no pair; the pairs of a ranking share what one annotation weighs. On held-out prompts the
implicit reward is measured against the votes afterwards; before, it is 0 for every answer. Left out: thumbs and stars
(see KTO and the reward model), strength of preference.
"""

from __future__ import annotations

import numpy as np

from training.configs import DPOConfig
from training.configs.preference import FEWEST_PAIRS
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec
from training.recipes.common.entry import config_of, run_recipe
from training.recipes.preference import preference_policy
from training.recipes.preference.answer_examples import AnswerExamples, AnswerPlaces, places_of
from training.recipes.preference.preference_data import Judgements
from training.recipes.preference.preference_objectives import Pairs


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: DPOConfig = config_of(spec)
    work = preference_policy.load(run, spec, config)
    data = work.data
    objective, places = pairs_of(data, config)
    count = len(objective.answers)
    counts = {"pairs": count, "held_out_pairs": len(data.pairs) - count}
    preference_policy.carry_out(work, objective, places, phase="Learning from pairs", counts=counts)


def pairs_of(data: Judgements, config: DPOConfig) -> tuple[Pairs, AnswerPlaces]:
    """Return what is learnt, and where its answers are, those held out among them. Raises RecipeFailure when there are
    too few."""
    is_learnt = ~data.held_out[data.pairs[:, 0]]
    pairs = require_pairs(data.pairs[is_learnt])
    places = places_of(np.concatenate([pairs.ravel(), data.held_out_completions()]))
    answers = places.of(pairs)
    weights = data.pair_weights[is_learnt]
    return Pairs(
        answers=answers,
        lengths=AnswerExamples(data, places.places).answer_counts[answers],
        weights=weights / weights.mean(),
        beta=config.beta,
        loss=config.loss,
        label_smoothing=config.label_smoothing,
    ), places


def require_pairs(pairs: np.ndarray) -> np.ndarray:
    if len(pairs) < FEWEST_PAIRS:
        raise RecipeFailure(
            "too_few_pairs",
            f"There are {len(pairs)} comparisons with a winner for training; at least {FEWEST_PAIRS} are needed.",
            "Collect more comparisons, then freeze the dataset again; for thumbs only, use KTO.",
        )
    return pairs


if __name__ == "__main__":
    run_recipe(main)
