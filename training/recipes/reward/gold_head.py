"""Learn a second head from other annotations on the same features: it watches while a policy follows the first.

A policy that is optimised against a score pleases its errors, too (Gao 2023, "Scaling Laws for Reward Model
Overoptimization", 2210.10760, where the gold model is a larger one). Errors that come from few annotations are another
head's only by chance, so what the policy gains by them the second head does not see. It learns from the held-out
prompts, after they have measured the first head, and is measured on those that the first was trained on; where that
cannot be told from chance it is not kept. It shares the features: what both read wrongly in the same way it cannot
tell.

On 740 answers of the demo (2,089 annotations, four draws of the prompts) heads learnt from 75, 50, 30 and 15 % of the
prompts had an AUC on unseen thumbs of 0.862, 0.854, 0.844 and 0.824: hence a quarter for the second, which costs the
first nearly nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from training.recipes.reward import evidence as reward_evidence
from training.recipes.reward import head_fit
from training.recipes.reward import reward_accuracy as reward_measures
from training.recipes.reward.designs.design import Design
from training.recipes.reward.designs.stored_features import Features
from training.recipes.reward.feedback_likelihood import Observations, Priors
from training.recipes.reward.head_fit import Head
from training.recipes.reward.reward_accuracy import Estimate, Judged
from training.recipes.reward.reward_model import RewardModel

FEWEST = 40  # annotations that a second head learns from


@dataclass(frozen=True)
class GoldProxy:
    """Hold the second head. `head` is None where there is none, and `lack` says why; `figures` on the prompts that the
    first head had."""

    judgements: int
    prompts: int
    lack: str = ""
    head: Head | None = None
    figures: dict[str, Estimate | None] = field(default_factory=dict)
    evidence: Estimate | None = None
    correlation: float | None = None


def learn(
    pooled: Features, scores: Tensor, observed: Observations, prompts: Tensor, training: Tensor, ridge: float,
    priors: Priors, seed: int,
) -> GoldProxy:  # fmt: skip
    """Fit the second head to the annotations outside `training` (N,), with the penalty that suits the first.

    pooled (N, F), scores (N,) of the first head, prompts (N,). The penalty is a prior on weights: it does not depend
    on how many annotations there are.
    """
    apart = observed.among(~training)
    count, on = len(apart), len(torch.unique(prompts[apart.completions]))
    if count < FEWEST:
        return GoldProxy(count, on, f"{count} annotations on held-out prompts are too few to train on.")
    design = Design.of(pooled, torch.nonzero(~training)[:, 0])
    head = head_fit.fit(design, apart, ridge, priors=priors)
    gold_scores = head.scores(pooled)
    unseen = observed.among(training)
    evidence = reward_evidence.slope(gold_scores, unseen, prompts)
    if evidence is None or evidence.lower <= 0:
        return GoldProxy(count, on, "On the other prompts it is not better than chance.")
    figures = reward_measures.measures(gold_scores.numpy(), Judged.of(unseen), prompts.numpy(), seed)
    correlation = float(torch.corrcoef(torch.stack([gold_scores, scores.double()]))[0, 1])
    return GoldProxy(count, on, "", head, figures, evidence, correlation)


def keep(model: RewardModel, proxy: GoldProxy, pooled: Features, training: Tensor) -> None:
    """Put the second head into the reward model, on its standardised features; its scores average 0 in training."""
    if proxy.head is None:
        return
    head, mean, std = proxy.head, model.feature_mean.double(), model.feature_std.double()
    scores = head.scores(pooled)
    centre = scores[training].mean().item()
    shift = (((mean - head.mean) / head.std) @ head.weight).item()
    model.gold_weight = (head.weight * std / head.std).float()
    model.gold_bias = torch.tensor([shift - centre])
    model.gold_empty_score = scores[training].min().item() - centre


def as_row(proxy: GoldProxy) -> dict[str, Any]:
    """Return the row for result.json."""
    return {
        "judgements": proxy.judgements,
        "prompts": proxy.prompts,
        "lack": proxy.lack,
        **reward_measures.as_rows(proxy.figures),
        "slope": asdict(proxy.evidence) if proxy.evidence is not None else None,
        "correlation": proxy.correlation,
    }
