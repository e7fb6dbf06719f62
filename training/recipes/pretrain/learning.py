"""The loop that pretraining and domain finetuning share: rows of text in, a model that has learnt out.

    plan        how many rows fit the memory at once, whether activations are computed twice
    step        micro-batches forward and backward, gradients added up, clipped, AdamW, masters rounded into the model
    validation  the same held-out rows, hidden tokens and all, each time: loss, perplexity, bits per byte
    checkpoint  masters, optimiser, generators: a run that is killed and resumed ends with the same bits

The loss of a step is the mean over all tokens that it predicts, however they fall into micro-batches and processes.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from training.recipes.common import steps
from training.recipes.common.fp32_master_weights import Masters, trained_parameters
from training.recipes.pretrain import held_out_loss as held_out
from training.recipes.pretrain.learner import Learner
from training.recipes.pretrain.loss_sums import Sums, forward
from training.recipes.pretrain.text_rows import TextRows

LOGGED_POINTS = 500  # of a curve: more shows nothing


@dataclass
class Standing:
    """Say how far a run is: kept in its checkpoints."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    first_loss: float = math.nan
    last_loss: float = math.nan
    first_validation: dict[str, float] | None = None
    last_validation: dict[str, float] | None = None
    unlogged: Sums = field(default_factory=Sums)  # since the last point of the curve


def learn(learner: Learner) -> Standing:
    """Train to the last step, from the latest checkpoint if there is one."""
    run, config, together = learner.run, learner.config, learner.together
    # Split weights are float32 masters themselves, gathered in the dtype that multiplies.
    masters = Masters(trained_parameters(learner.model), torch.float32 if together.is_sharded else learner.dtype)
    learner.masters = masters.masters
    optimiser = masters.optimiser(rate=config.rate, weight_decay=config.weight_decay, beta2=config.beta2)
    standing = resume(learner, masters, optimiser)
    pace, started, reported = steps.Pace(), time.monotonic() - standing.seconds, 0.0
    if standing.step == 0:
        learner.sample(0)
        standing.first_validation = standing.last_validation = _validated(learner, 0)
    run.progress("training", standing.step, learner.total_steps)
    while standing.step < learner.total_steps:
        rate = config.rate * rate_factor(config, standing.step, learner.total_steps)
        step_sums = optimise(learner, masters, optimiser, standing.step, rate)
        standing.unlogged.add(step_sums)
        standing.step += 1
        standing.tokens += config.batch_size * learner.rows.length
        standing.seconds = time.monotonic() - started
        standing.last_loss = step_sums.loss
        if standing.step == 1:
            standing.first_loss = step_sums.loss
        speed = pace.tokens_per_second(config.batch_size * learner.rows.length)
        is_last = standing.step == learner.total_steps
        if standing.step % max(learner.total_steps // LOGGED_POINTS, 1) == 0 or is_last:
            _log(learner, standing, rate, speed)
            standing.unlogged = Sums()
        if standing.step % config.validate_every == 0 or is_last:
            standing.last_validation = _validated(learner, standing.step)
        if standing.step % config.sample_every == 0 or is_last:
            learner.sample(standing.step)
        learner.keep(standing.step)
        if standing.step % config.checkpoint_every == 0 or is_last:
            checkpoint(learner, masters, optimiser, standing)
        if time.monotonic() - reported > 1 or is_last:
            reported = time.monotonic()
            run.progress("training", standing.step, learner.total_steps)
    together.wait()
    return standing


def optimise(learner: Learner, masters: Masters, optimiser: torch.optim.Optimizer, step: int, rate: float) -> Sums:
    """Take one optimiser step on `batch_size` rows."""
    config, together = learner.config, learner.together
    numbers = together.share(range(step * config.batch_size, (step + 1) * config.batch_size))
    batches = [
        learner.objective(*learner.rows.take(numbers[at : at + learner.micro_batch]))
        for at in range(0, len(numbers), learner.micro_batch)
    ]
    targets = together.total(sum(batch.targets for batch in batches))[0]
    sums = Sums()
    for batch, counts in together.in_step(batches, batches[0]):
        loss, part = forward(learner.model, batch, counts / max(targets, 1))
        loss.backward()
        masters.collect()
        if counts:
            sums.add(part)
    sums = sums.over(together)
    together.add_gradients(masters.gradients)
    sums.norm = steps.clip_gradients(masters.masters.values(), config.max_grad_norm, loss=sums.loss, step=step + 1)
    steps.set_learning_rate(optimiser, rate)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    masters.publish()
    return sums


def rate_factor(config: Any, step: int, total: int) -> float:
    return steps.schedule_factor(
        step,
        total,
        kind=config.schedule,
        warmup=max(round(config.warmup_ratio * total), 1),
        decay=round(config.decay_ratio * total),
        floor=config.final_rate,
    )


def checkpoint(learner: Learner, masters: Masters, optimiser: torch.optim.Optimizer, standing: Standing) -> None:
    steps.save_checkpoint(
        learner.run, learner.together, standing.step, parameters=masters.masters, optimiser=optimiser,
        extra={"standing": asdict(standing)},
    )  # fmt: skip


def resume(learner: Learner, masters: Masters, optimiser: torch.optim.Optimizer) -> Standing:
    latest = steps.checkpoint_to_resume(learner.run, learner.together)
    if latest is None:
        learner.run.truncate_logs(-1)
        return Standing()
    extra = steps.load_state(latest, parameters=masters.masters, optimiser=optimiser)
    masters.publish()
    standing = Standing(**{**extra["standing"], "unlogged": Sums(**extra["standing"]["unlogged"])})
    learner.run.truncate_logs(standing.step)
    return standing


def _log(learner: Learner, standing: Standing, rate: float, speed: float) -> None:
    sums = standing.unlogged
    learner.run.log_metrics(
        standing.step,
        loss=sums.loss,
        **sums.by_kind(),
        grad_norm=sums.norm,
        learning_rate=rate,
        tokens=standing.tokens,
        tokens_per_second=speed,
        peak_memory_gb=steps.peak_memory_gb(learner.device),
        seconds=standing.seconds,
    )


def _validated(learner: Learner, step: int) -> dict[str, float]:
    figures = held_out.validate(learner)
    learner.run.log_metrics(step, **figures)
    return figures


def steps_of(config: Any, rows: TextRows) -> int:
    """Return the number of optimiser steps: so many passes over the corpus, or up to `max_tokens`."""
    count = math.ceil(rows.count * config.epochs / config.batch_size)
    if config.max_tokens is not None:
        count = min(count, math.ceil(config.max_tokens / (config.batch_size * rows.length)))
    return max(count, 1)
