"""Fit a head for each aspect that people rated beside the whole: helpful, true, polite, whatever the project asks for.

Every head is linear on the features of the reward model and learns by the likelihood of stars (`feedback_likelihood`).
One that cross-validation cannot tell from chance is reported and not kept.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from training.recipes.reward import evidence as reward_evidence
from training.recipes.reward import head_fit
from training.recipes.reward.designs.design import Design
from training.recipes.reward.feedback_likelihood import Observations
from training.recipes.reward.reward_accuracy import Estimate, bootstrap, spearman

ENOUGH = 40  # annotations unlike the commonest one; half of what a whole reward model needs
ENOUGH_PROMPTS = 10


@dataclass(frozen=True)
class Aspect:
    """Hold the head of one aspect. `spearman` is the rank correlation with annotations on the held-out prompts; `lack`
    says why there is no head."""

    name: str
    judgements: int
    lack: str = ""
    spearman: Estimate | None = None
    weight: Tensor | None = None  # (F,) on standardised features, scores of mean 0 and deviation 1 in training
    bias: float = 0.0


def learn(
    design: Design, aspects: dict[str, Observations], prompts: Tensor, training: Tensor, folds: Tensor, seed: int
) -> list[Aspect]:
    """Return the aspects' heads. `prompts`, `training` and `folds` are (N,), as for the whole."""
    return [_learn_one(name, design, observed, prompts, training, folds, seed) for name, observed in aspects.items()]


def _learn_one(
    name: str, design: Design, observed: Observations, prompts: Tensor, training: Tensor, folds: Tensor, seed: int
) -> Aspect:
    annotations = observed.among(training)
    counts = torch.bincount(annotations.stars)
    informative, on = (
        len(annotations) - int(counts.max()) if len(annotations) else 0,
        len(torch.unique(prompts[annotations.starred])),
    )
    if informative < ENOUGH or on < ENOUGH_PROMPTS:
        lack = f"{informative} annotations on {on} prompts separate answers: too few to train on."
        return Aspect(name, len(observed), lack)
    ridge = head_fit.best_ridge(design, observed, folds)
    guessed = head_fit.out_of_fold(design, observed, folds, ridge)
    evidence = reward_evidence.slope(guessed, annotations, prompts)
    if evidence is None or evidence.lower <= 0:
        return Aspect(name, len(observed), "In cross-validation the aspect is not better than chance.")
    head = head_fit.fit(design, annotations, ridge)
    scores = design.scores(head)
    mean, spread = scores[training].mean().item(), max(scores[training].std().item(), 1e-6)
    return Aspect(
        name, len(observed), spearman=_held_out(scores, observed.among(~training), prompts, seed),
        weight=head.weight / spread, bias=-mean / spread,
    )  # fmt: skip


def _held_out(scores: Tensor, annotations: Observations, prompts: Tensor, seed: int) -> Estimate | None:
    s, stars = scores[annotations.starred].numpy(), annotations.stars.double().numpy()
    return bootstrap(lambda i: spearman(s[i], stars[i]), prompts[annotations.starred].numpy(), seed, floor=-1.0)


def as_rows(aspects: list[Aspect]) -> dict[str, dict[str, Any]]:
    """Return rows for result.json, by name."""
    return {
        a.name: {
            "judgements": a.judgements,
            "lack": a.lack,
            "spearman": asdict(a.spearman) if a.spearman is not None else None,
        }
        for a in aspects
    }
