"""Take one optimiser step of DPO or KTO: forward and backward in parts of a few answers, whose gradients add up.

A part's answers lie end to end without padding where the model runs packed (`sft.trained_model`), and its logits stand
for a few rows at a time (`rl.logprobs`). Each process takes its share of the examples; losses are means over all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from training.configs.preference import PreferenceConfig
from training.core import batch_planner
from training.recipes.common import steps
from training.recipes.common.processes import Processes
from training.recipes.preference.answer_examples import AnswerExamples
from training.recipes.preference.preference_objectives import Figures, Objective, Seen
from training.recipes.preference.reference_logprobs import summed_logprobs
from training.recipes.sft.trained_model import Student


@dataclass(frozen=True)
class Learning:
    """Hold what a step needs; `reference` (S,) has the parent's log-probabilities of the answers that steps ask for."""

    config: PreferenceConfig
    policy: Student
    objective: Objective
    examples: AnswerExamples
    reference: np.ndarray
    tokens: int  # forwarded at once
    together: Processes


@dataclass(frozen=True)
class Part:
    """Hold what one forward pass has seen: (example, loss, log-probabilities, log-ratios) of each, and entropy."""

    rows: list[tuple[int, float, list[float], list[float]]]
    entropy: float
    tokens: int  # of the answers


def take_step(
    learning: Learning, optimiser: torch.optim.Optimizer, rows: np.ndarray, *, step: int, rate: float
) -> Figures:
    """Learn from these examples; return what is logged of it."""
    policy, together = learning.policy, learning.together
    kl = distance_elsewhere(learning, rows)
    own = parts_of(learning, together.share(rows.tolist()))
    seen: list[Part] = []
    for part, counts in together.in_step(own, rows[:1].tolist()):
        of_part = backward(learning, np.array(part), kl, share=counts / len(rows))
        policy.masters.collect()
        seen += [of_part] if counts else []
    together.add_gradients(policy.masters.all_gradients())
    figures = figures_of(learning, seen)
    norm = steps.clip_gradients(
        policy.masters.masters.values(), learning.config.max_grad_norm, loss=figures["loss"], step=step
    )
    steps.set_learning_rate(optimiser, rate)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    policy.masters.publish()
    moved = {} if learning.objective.elsewhere is None else {"kl": kl}
    return {**figures, **moved, "grad_norm": norm, "learning_rate": rate}


def parts_of(learning: Learning, rows: list[int]) -> list[list[int]]:
    """Return the examples of each forward pass: within `tokens`, and the option of examples at once."""
    answers = learning.objective.answers[rows]
    lengths = tokens_of(learning.policy, learning.examples, answers).tolist()
    most = math.ceil(learning.config.rows_at_once / learning.together.count)
    groups = batch_planner.micro_batches(lengths, learning.tokens, padded=not learning.policy.is_packed)
    return [[rows[i] for i in group[at : at + most]] for group in groups for at in range(0, len(group), most)]


def tokens_of(policy: Student, examples: AnswerExamples, answers: np.ndarray) -> np.ndarray:
    """Return (E,) the tokens that a pass has of each example's answers (E, k); where they are padded, k times those of
    the longest."""
    counts = examples.token_counts[answers]
    return counts.sum(1) if policy.is_packed else counts.shape[1] * counts.max(1)


def backward(learning: Learning, rows: np.ndarray, kl: float, *, share: float) -> Part:
    """Add the gradients of these examples' losses, each times `share`."""
    answers = learning.objective.answers[rows]
    examples = [learning.examples[i] for i in answers.ravel()]
    logprobs, entropies = (x.view(answers.shape) for x in learning.policy.logprobs(examples, entropies=True))
    logratios = logprobs - torch.tensor(learning.reference[answers], dtype=logprobs.dtype, device=logprobs.device)
    losses = learning.objective.losses(rows, logratios, kl)
    (losses.sum() * share).backward()
    columns = rows.tolist(), losses.tolist(), logprobs.tolist(), logratios.tolist()
    return Part(list(zip(*columns, strict=True)), float(entropies.sum()), sum(e.targets for e in examples))


def distance_elsewhere(learning: Learning, rows: np.ndarray) -> float:
    """Return KTO's estimate of how far the policy has moved, from answers to other prompts; not below 0."""
    if learning.objective.elsewhere is None:
        return 0.0
    answers = learning.objective.elsewhere[rows]
    logprobs = summed_logprobs(learning.policy, learning.examples, answers, learning.tokens, learning.together)
    return max(float((logprobs - learning.reference[answers]).mean()), 0.0)


def figures_of(learning: Learning, own: list[Part]) -> Figures:
    """Return the figures of all processes' parts, in the order of the examples whoever has seen them."""
    together = learning.together
    columns = zip(*sorted(together.gathered([row for part in own for row in part.rows])), strict=True)
    seen = Seen(*(np.array(column) for column in columns))
    entropy, tokens = together.total(sum(p.entropy for p in own), sum(p.tokens for p in own))
    return {"loss": float(seen.losses.mean()), **learning.objective.figures(seen), "entropy": entropy / tokens}
