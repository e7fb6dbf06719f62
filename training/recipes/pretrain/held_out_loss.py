"""Measure the loss of held-out text while a model learns: the same rows, and the same tokens hidden, each time."""

from __future__ import annotations

import math

import numpy as np
import torch

from training.recipes.pretrain.learner import Learner
from training.recipes.pretrain.loss_sums import Sums, forward
from training.recipes.pretrain.objectives import Objective

SEED = 20_001


@torch.no_grad()
def validate(learner: Learner) -> dict[str, float]:
    """Return loss, perplexity and bits per byte over all held-out rows together.

    Bits per byte is the sum over the tokens predicted, by the bytes that so many tokens of this text have: for a causal
    model the exact code length of the text, end tokens included; for masks and spans, of what was hidden. A mixture is
    measured on each of its objectives over all rows; the causal one gives perplexity and bits per byte.
    """
    learner.model.eval()
    losses = {name: _losses(learner, objective).loss for name, objective in learner.validators.items()}
    learner.model.train()
    first = next(iter(losses.values()))
    figures = {
        "validation_loss": first,
        "perplexity": math.exp(min(first, 700.0)),
        "bits_per_byte": first / math.log(2) / max(learner.validation_bytes_per_token, 1e-9),
    }
    return figures | {f"validation_{name}_loss": loss for name, loss in losses.items() if len(losses) > 1}


def _losses(learner: Learner, objective: Objective) -> Sums:
    draws = [np.random.default_rng((SEED, number)) for number in range(len(learner.validation))]
    own_rows = learner.together.share(list(zip(learner.validation, draws, strict=True)))
    sums = Sums()
    parts = [own_rows[at : at + learner.micro_batch] for at in range(0, len(own_rows), learner.micro_batch)]
    spare = [(learner.validation[0], np.random.default_rng(SEED))]
    for part, counts in learner.together.in_step(parts, spare):
        rows, row_draws = zip(*part, strict=True)
        part_sums = forward(learner.model, objective(np.stack(rows), row_draws), 1.0)[1]
        if counts:
            sums.add(part_sums)
    return sums.over(learner.together)
