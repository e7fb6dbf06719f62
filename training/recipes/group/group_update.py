"""Learn from a step's answers: epochs x minibatches of GRPO's or RLOO's loss, forward and backward in parts.

A minibatch is some of the prompts with all their answers. Each process computes its own rows of it; losses and figures
are of all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from training.recipes.common import steps
from training.recipes.engine.policy_engine import shuffled
from training.recipes.group.group_engine import Answers, GroupEngine
from training.recipes.group.group_objectives import Lengths, Objective
from training.rl.kl import kl_per_token
from training.rl.rollout import Rollout

Figures = dict[str, float]


@dataclass(frozen=True)
class Batch:
    """Hold what is learnt from: advantages (B,), and the logprobs (B, N) at drawing; None: those of the very forward
    that learns."""

    answers: Answers
    advantages: Tensor
    drawn: Tensor | None


@dataclass
class Sums:
    """Add up what forwards have seen: of tokens, KL from the parent and entropy; of a minibatch, the loss."""

    kl: float = 0.0
    entropy: float = 0.0
    loss: float = 0.0
    clipped: float = 0.0

    def note(
        self, engine: GroupEngine, estimator: str, logprobs: Tensor, entropies: Tensor, ref: Tensor | None
    ) -> None:
        """Add what these answers' logprobs (b, N) say."""
        self.entropy += float(entropies.sum())
        if ref is not None and engine.config.beta:
            self.kl += float(kl_per_token(logprobs.detach(), ref, estimator).sum())


def learn_from(
    engine: GroupEngine, optimiser: torch.optim.Optimizer, objective: Objective, answers: Answers, step: int
) -> Figures:
    """Take a step's updates on a batch of answers; return what is logged of it."""
    config, sums = engine.config, Sums()
    drawn, kl = None, None
    if objective.needs_drawn(config.epochs * config.minibatches):
        drawn, kl = _as_drawn(engine, objective, answers, sums)
    advantages = objective.advantages(answers.scores, kl)
    batch = Batch(answers, advantages.values, drawn)
    rate = config.rate * steps.schedule_factor(step, config.steps, kind=config.learning_rate_schedule, warmup=0)
    steps.set_learning_rate(optimiser, rate)
    norms: list[float] = []
    with engine.stage("updates"):
        for rows in _minibatches(engine, step):
            norms.append(_update(engine, optimiser, objective, batch, rows, sums, step))
    return _figures(engine, batch, sums, len(norms)) | {
        "groups_alike": advantages.alike,
        "grad_norm": sum(norms) / len(norms),
        "learning_rate": rate,
    }


def _as_drawn(engine: GroupEngine, objective: Objective, answers: Answers, sums: Sums) -> tuple[Tensor, Tensor | None]:
    """Return the logprobs (B, N) by which answers were drawn, by the forward that learns, and their KL (B,) in nats."""
    with engine.stage("scoring"):
        own_logprobs, own_entropies = engine.own_logprobs(answers.lower, answers.own_rollout)
    drawn, entropies = (engine.merged(values, answers) for values in (own_logprobs, own_entropies))
    ref = answers.ref_logprobs
    if engine.together.is_first:  # of all rows, which every process has
        sums.note(engine, objective.kl_estimator, drawn, entropies, ref)
    return drawn, None if ref is None else (kl_per_token(drawn, ref) * answers.rollout.mask).sum(1)


def _minibatches(engine: GroupEngine, step: int) -> Iterator[Tensor]:
    """Yield the rows of each update: of all prompts in their order, or of some of them, shuffled anew in each epoch."""
    config = engine.config
    rows = torch.arange(config.batch_size, device=engine.device).view(-1, config.group_size)
    for epoch in range(config.epochs):
        if config.minibatches == 1:
            yield rows.flatten()
            continue
        mixed = rows[shuffled(len(rows), engine.spec.seed, "minibatches", step, epoch)]
        yield from (part.flatten().sort().values for part in mixed.tensor_split(config.minibatches))


def _update(
    engine: GroupEngine, optimiser: torch.optim.Optimizer, objective: Objective, batch: Batch, rows: Tensor,
    sums: Sums, step: int,
) -> float:  # fmt: skip
    """Take one optimiser step; return the gradients' norm."""
    optimiser.zero_grad(set_to_none=True)
    before = sums.loss
    own, counts = _own(engine, batch.answers, rows)
    rollout = batch.answers.rollout
    for chosen, is_own in engine.groups(rollout[own]):
        _backward(engine, objective, batch, own[chosen], rows, sums, counts=counts and is_own)
        engine.policy.collect()
    learning = list(engine.policy.parameters().values())
    engine.together.add_gradients(p.grad for p in learning if p.grad is not None)
    loss = engine.together.total(sums.loss - before)[0]
    norm = steps.clip_gradients(learning, engine.config.max_grad_norm, loss=loss, step=step + 1)
    optimiser.step()
    engine.policy.publish()
    return norm


def _own(engine: GroupEngine, answers: Answers, rows: Tensor) -> tuple[Tensor, bool]:
    """Return the rows of a minibatch that this process computes; False: one that counts for nothing, since every
    process takes part in every forward."""
    if engine.together.count == 1:
        return rows, True
    own = rows[torch.isin(rows, torch.tensor(answers.own.places, device=rows.device, dtype=rows.dtype))]
    if len(own):
        return own, True
    return torch.tensor(answers.own.rows[:1], device=rows.device), False


def _backward(
    engine: GroupEngine, objective: Objective, batch: Batch, rows: Tensor, minibatch: Tensor, sums: Sums, *,
    counts: bool,
) -> None:  # fmt: skip
    """Add the gradients of the loss of these rows, which are of a minibatch."""
    answers = batch.answers
    part = answers.rollout[rows]
    width, N = part.ids.shape[1], part.mask.shape[1]
    places = torch.searchsorted(torch.tensor(answers.own.rows, device=rows.device), rows)
    asks = batch.drawn is None  # else what is drawn has been seen already
    logprobs, entropies = engine.policy.logprobs(answers.lower[places, :width], part, entropies=asks)
    drawn = logprobs.detach() if batch.drawn is None else batch.drawn[rows, :N]
    ref = None if answers.ref_logprobs is None else answers.ref_logprobs[rows, :N]
    lengths = _lengths(engine, answers.rollout, rows, minibatch)
    found = objective.part(logprobs, drawn, ref, batch.advantages[rows], part.mask, lengths)
    (found.loss if counts else found.loss * 0).backward()
    if counts:
        sums.loss += float(found.loss.detach())
        sums.clipped += found.clipped
        if asks:
            sums.note(engine, objective.kl_estimator, logprobs, entropies, ref)


def _lengths(engine: GroupEngine, rollout: Rollout, rows: Tensor, minibatch: Tensor) -> Lengths:
    tokens = float(rollout.lengths[minibatch].sum())
    usual = float(rollout.lengths.sum()) / engine.config.minibatches
    return Lengths(rollout.lengths[rows].float(), len(minibatch), tokens, usual)


def _figures(engine: GroupEngine, batch: Batch, sums: Sums, updates: int) -> Figures:
    """Return the figures of all processes: of the policy that drew, but for the loss and the clip."""
    rollout, scores = batch.answers.rollout, batch.answers.scores
    kl, entropy, loss, clipped = engine.together.total(sums.kl, sums.entropy, sums.loss, sums.clipped)
    tokens = float(rollout.lengths.sum())
    return {
        "loss": loss / updates,
        **({"kl": kl / len(rollout), "kl_per_token": kl / tokens} if engine.config.beta else {}),
        "score_mean": float(scores.mean()),
        "score_std": float(scores.std()),
        "entropy": entropy / tokens,
        "length_mean": float(rollout.lengths.float().mean()),
        "cut_share": float((~rollout.finished).float().mean()),
        "clip_frac": clipped / updates,
        **batch.answers.figures,
    }
