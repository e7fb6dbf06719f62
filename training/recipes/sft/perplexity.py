"""Measure the held-out loss of a finetuned model, before and after, with intervals.

Perplexity is exp of the mean loss over all held-out answer tokens together. Tokens of one answer are no independent
observations, so that the unit of every interval is the example: the variance of a ratio (total loss over total tokens)
by linearisation (Cochran 1977, 6.4). The change is measured pairwise, on the same tokens, and is the sharper for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from training.core import batch_planner
from training.core.run_directory import RunDirectory
from training.recipes.common.processes import Processes
from training.recipes.sft.examples import Example, lengths_of
from training.recipes.sft.trained_model import Student
from training.rl.factors import in_float64

NORMAL_95 = 1.96


@torch.no_grad()
def losses_of(student: Student, examples: Sequence[Example], tokens: int, together: Processes) -> list[float]:
    """Return each example's summed loss in nats."""
    example_losses = [0.0] * len(examples)
    if not examples:
        return []
    groups = batch_planner.micro_batches(lengths_of(examples), tokens, padded=not student.is_packed)
    for indices, counts in together.in_step(together.share(groups), [0]):
        group = [examples[i] for i in indices]
        _, losses = student.loss(group, 1.0)
        if not counts:
            continue
        parts = in_float64(losses).split([e.targets for e in group])
        for index, part in zip(indices, parts, strict=True):
            example_losses[index] = float(part.sum())
    return together.total(*example_losses)


def mean_loss(losses: list[float], counts: list[int]) -> tuple[float, float]:
    """Return nats a token, and the standard error with the example as the unit."""
    mean = sum(losses) / sum(counts)
    squares = sum((loss - mean * count) ** 2 for loss, count in zip(losses, counts, strict=True))
    n = len(losses)
    return mean, math.sqrt(squares * n / max(n - 1, 1)) / sum(counts)


def perplexity(losses: list[float], counts: list[int]) -> dict[str, float]:
    mean, error = mean_loss(losses, counts)
    return {
        "loss": mean,
        "perplexity": _exp(mean),
        "lower": _exp(mean - NORMAL_95 * error),
        "upper": _exp(mean + NORMAL_95 * error),
    }


def log_perplexity(run: RunDirectory, step: int, losses: list[float], examples: Sequence[Example]) -> None:
    """Log the held-out loss, in nats a token, and the perplexity of this step; nothing without examples."""
    if examples:
        figures = perplexity(losses, [example.targets for example in examples])
        run.log_metrics(step, validation_loss=figures["loss"], perplexity=figures["perplexity"])


def comparison(before: list[float], after: list[float], examples: Sequence[Example]) -> dict[str, Any]:
    """Return what the held-out answers cost before and after, and the change in nats a token with its 95 % interval."""
    counts = [example.targets for example in examples]
    change, error = mean_loss([b - a for a, b in zip(before, after, strict=True)], counts)
    return {
        "examples": len(examples),
        "tokens": sum(counts),
        "before": perplexity(before, counts),
        "after": perplexity(after, counts),
        "change": {"loss": change, "lower": change - NORMAL_95 * error, "upper": change + NORMAL_95 * error},
    }


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))
