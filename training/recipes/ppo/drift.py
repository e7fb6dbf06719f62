"""Measure how far the policy's answers have moved in what the reward model reads: does it still judge what it knows?

A reward model is right about answers like those it learnt from. A policy that is optimised against it leaves them, and
the score goes on rising while it means less and less. So at each step the features that the model pools are compared
with those of the parent's own answers, each in its own standard deviation, and the scores with those of its training.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from training.recipes.common import features as text_features
from training.recipes.rewards.scoring import Scorer
from training.rl.rollout import Rollout


@dataclass(frozen=True)
class Spread:
    """Mean and deviation of the parent's answers, feature by feature: (G,) each."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, inputs: Tensor) -> Spread:
        """Return the spread of inputs (B, G)."""
        std = inputs.std(0)
        return cls(inputs.mean(0), std.clamp(min=float(std.mean()) * 1e-3 + 1e-9))


def reward_inputs(scorer: Scorer, hidden: dict[int, Tensor], rollout: Rollout, layer: int) -> Tensor:
    """Return (B, G): the features that the reward model pools, where it rides on the reference.

    One with a trunk of its own, or a Python function, is given the reference's mean state instead: not what it
    reads, but it moves when the answers do.
    """
    mask = rollout.text_mask()
    if scorer.model is None or not scorer.layers:
        return text_features.pool(hidden, mask, ((layer, "mean"),))
    mask = mask & (mask.long().cumsum(1) <= scorer.model.max_completion_tokens)
    return text_features.pool(hidden, mask, scorer.model.features)


def figures(
    scorer: Scorer, spread: Spread, inputs: Tensor, scores: Tensor, parts: dict[str, Tensor]
) -> dict[str, float]:
    """Return the figures of a batch.

    `input_distance`: an answer's root mean square deviation from the parent's mean, 1 for the parent itself.
    `input_shift`: the same of the batch's mean, near 0 for the parent. `score_outside`: share of raw scores beyond what
    the reward model's training saw; `parts` are figures (B,) of a reward's parts.
    """
    z = (inputs - spread.mean) / spread.std
    figures = {
        "input_distance": float((z**2).mean(1).sqrt().mean()),
        "input_shift": float((z.mean(0) ** 2).mean().sqrt()),
    }
    if (outside := scorer.share_outside(scores, parts)) is not None:
        figures["score_outside"] = outside
    return figures
