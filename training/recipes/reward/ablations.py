"""Measure what each part of the annotations is worth, on the same held-out ones: pairs, ratings, all; an eighth of them
to all.

Heads alone, each with a penalty of its own by cross-validation: seconds each. Intervals and paired differences draw
the same prompts anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.recipes.reward import head_fit
from training.recipes.reward import reward_accuracy as reward_measures
from training.recipes.reward.designs.design import Design
from training.recipes.reward.feedback_likelihood import Observations
from training.recipes.reward.reward_accuracy import Judged

SHARES = (1 / 8, 1 / 4, 1 / 2)
FEWEST = 20  # annotations that a head is fitted to


def ablation(
    design: Design, observed: Observations, prompts: Tensor, training: Tensor, folds: Tensor, all_scores: Tensor,
    seed: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return a row each for pairs alone, ratings alone and all of them; empty where there is one of the two alone."""
    parts = {"pairs": observed.only(pairs=True), "ratings": observed.only(ratings=True)}
    if any(len(part.among(training)) < FEWEST for part in parts.values()):
        return []
    held_out = Judged.of(observed.among(~training))
    scores = {name: _scores(design, part, training, folds) for name, part in parts.items()}
    rows = [
        {"name": name, "judgements": len(part.among(training))}
        | _figures(scores[name], held_out, prompts, seed)
        | {"lost": _differences(all_scores, scores[name], held_out, prompts, seed)}
        for name, part in parts.items()
    ]
    all_row = {"name": "all", "judgements": len(observed.among(training))}
    return [*rows, all_row | _figures(all_scores, held_out, prompts, seed)]


def learning_curve(
    design: Design, observed: Observations, prompts: Tensor, training: Tensor, folds: Tensor, all_scores: Tensor,
    seed: int, report: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return held-out figures by the number of annotations learnt from: nested shares of the training prompts."""
    held_out = Judged.of(observed.among(~training))
    order = torch.unique(prompts[training])
    order = order[torch.from_numpy(np.random.default_rng([seed, 8]).permutation(len(order)))]
    rows = []
    for number, share in enumerate(SHARES):
        report(number, len(SHARES))
        is_kept = training & torch.isin(prompts, order[: max(round(share * len(order)), 1)])
        subset = observed.among(is_kept)
        if len(subset) < FEWEST:
            continue
        scores = _scores(design, subset, is_kept, torch.where(is_kept, folds, -1))
        rows.append({"share": share, "judgements": len(subset)} | _figures(scores, held_out, prompts, seed))
    rows.append(
        {"share": 1.0, "judgements": len(observed.among(training))} | _figures(all_scores, held_out, prompts, seed)
    )
    return rows


def _scores(design: Design, observed: Observations, training: Tensor, folds: Tensor) -> Tensor:
    ridge = head_fit.best_ridge(design, observed, folds)
    return design.scores(head_fit.fit(design, observed.among(training), ridge))


def _figures(scores: Tensor, held_out: Judged, prompts: Tensor, seed: int) -> dict[str, Any]:
    return reward_measures.as_rows(reward_measures.measures(scores.numpy(), held_out, prompts.numpy(), seed))


def _differences(scores: Tensor, other_scores: Tensor, held_out: Judged, prompts: Tensor, seed: int) -> dict[str, Any]:
    differences = reward_measures.differences(scores.numpy(), other_scores.numpy(), held_out, prompts.numpy(), seed)
    return reward_measures.as_rows(differences)
