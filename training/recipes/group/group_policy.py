"""Train by GRPO and RLOO: a group of answers to each prompt, each rewarded by its score within the group.

    0. load     the parent, what learns beside it, the prompts (`group_engine`)
    1. draw     a group of answers to each of a step's prompts, by the very policy that is trained
    2. score    by a reward model, a Python function of (prompts, texts) or several parts
    3. learn    epochs x minibatches of the clipped loss, forward and backward in parts (`group_update`)
    4. follow   score, KL, length, sameness; sample completions of the same few prompts with the same seeds
    5. save     the parent and an adapter, or every weight (`children`)

There is no value function, and nothing is measured beforehand. A reward model's scores are standardised by what it saw
in training, so that `beta` and learning rates mean the same from one reward model to the next. What differs between
the two methods is in `group_objectives` (docs/adr/0034-grpo-and-rloo-in-a-loop-of-our-own.md). Prompts, answers,
weights and moments come from the run's seed and the checkpoint: a run killed at any moment and resumed ends in the same
bits on a processor. Left out: answers that other processes draw.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from training.configs.group import GroupConfig
from training.core.run_directory import RecipeFailure, Row, RunDirectory, RunSpec
from training.recipes.common import chat_samples, children, loading, steps
from training.recipes.common.children import KeptSteps, child_writer
from training.recipes.common.processes import directory_of, join
from training.recipes.group.group_engine import GroupEngine
from training.recipes.group.group_objectives import Objective
from training.recipes.group.group_update import Figures, learn_from
from training.recipes.rewards.scoring import Messages, require_trust, trust_rows
from training.rl.decode import LlamaDecoder

SAMPLED_PROMPTS = 4
RESULTS = {"loss": "loss", "score_mean": "score", "kl": "kl"}  # figures of the first and the last step, for the result


@dataclass
class Standing:
    """Say how far a run is; kept in its checkpoints."""

    step: int = 0
    first: Figures = field(default_factory=dict)
    last: Figures = field(default_factory=dict)

    def note(self, figures: Figures) -> None:
        self.last = {short: figures[name] for name, short in RESULTS.items() if name in figures}
        self.first = self.first or self.last
        self.step += 1


def carry_out(run: RunDirectory, spec: RunSpec, config: GroupConfig, objective: Objective) -> None:
    """Carry out the whole run."""
    require_trust(spec, config)
    started = time.monotonic()
    together = join(sharding=config.sharding, batch_size=config.rows_at_once, limit=config.limit)
    run = directory_of(run, together)
    run.progress("Loading the models", 0, config.steps)
    engine = GroupEngine(run, spec, config, together)
    optimiser = optimiser_for(engine)
    standing = resume(engine, optimiser)
    learn(engine, optimiser, objective, standing)
    finish(engine, standing, started)
    together.leave()


def optimiser_for(engine: GroupEngine) -> torch.optim.Adam:
    # One pass over weights and moments, where plain Adam takes some ten; split weights know plain ones alone.
    is_fused = not engine.together.is_sharded and engine.device.type in ("cpu", "cuda")
    return torch.optim.Adam(list(engine.policy.parameters().values()), lr=engine.config.rate, fused=is_fused or None)


def resume(engine: GroupEngine, optimiser: torch.optim.Optimizer) -> Standing:
    run, together = engine.run, engine.together
    latest = steps.checkpoint_to_resume(run, together)
    together.wait()  # nobody writes a checkpoint before everybody has looked for one
    if latest is None:
        run.truncate_logs(-1)
        return Standing()
    if (latest / "trainer_state.json").exists():  # TRL's trainers wrote it
        raise RecipeFailure(
            "checkpoint_unreadable",
            f"The checkpoint in {latest.name} and those before it were written by the loop of an earlier version.",
            "Queue a new run with the same options, or delete the folder of checkpoints and resume from the start.",
        )
    extra = steps.load_state(latest, parameters=dict(engine.policy.parameters()), optimiser=optimiser)
    standing = Standing(**extra["standing"])
    engine.policy.publish()
    run.truncate_logs(standing.step)
    return standing


def learn(engine: GroupEngine, optimiser: torch.optim.Optimizer, objective: Objective, standing: Standing) -> None:
    run, total = engine.run, engine.config.steps
    run.progress("Training", standing.step, total)
    if standing.step == 0:
        show_samples(engine, 0)
    while standing.step < total:
        engine.seconds, started = {}, time.monotonic()
        # Nothing holds the answers any more when the next are drawn.
        figures = learn_from(engine, optimiser, objective, engine.collect(standing.step), standing.step)
        standing.note(figures)
        seconds = {f"seconds_{name}": value for name, value in engine.seconds.items()}
        run.log_metrics(
            standing.step, **figures, **seconds, seconds=time.monotonic() - started,
            peak_memory_gb=steps.peak_memory_gb(engine.device),
        )  # fmt: skip
        run.progress("Training", standing.step, total)
        after_step(engine, optimiser, standing)


def after_step(engine: GroupEngine, optimiser: torch.optim.Optimizer, standing: Standing) -> None:
    config, step, is_last = engine.config, standing.step, standing.step == engine.config.steps
    if step % config.sample_every == 0 or is_last:
        show_samples(engine, step)
    kept_of(engine).note(step, engine.trained_model)
    if step % config.checkpoint_every == 0 or is_last:
        steps.save_checkpoint(
            engine.run, engine.together, step, parameters=dict(engine.policy.parameters()), optimiser=optimiser,
            extra={"standing": asdict(standing)},
        )  # fmt: skip


def kept_of(engine: GroupEngine) -> KeptSteps:
    write = child_writer(engine.spec.parent, engine.tokenizer)
    return KeptSteps(engine.run, engine.together, write, engine.config.kept_checkpoints, engine.config.steps)


def show_samples(engine: GroupEngine, step: int) -> None:
    """Sample the same prompts with the same seeds each time; the training's generators are not touched."""
    if not (engine.together.is_first or engine.together.is_sharded):
        return
    judges = engine.config.rewards and engine.together.is_first  # who are asked once, and paid
    chat_samples.log_answers(
        engine.run, engine.policy.model, engine.tokenizer, sampled_prompts(engine), step=step,
        seeds=(engine.spec.seed, "sample"), sampling=engine.sampling,
        max_prompt_tokens=engine.config.max_prompt_tokens, score=engine.of_samples if judges else None,
    )  # fmt: skip


def sampled_prompts(engine: GroupEngine) -> list[Messages]:
    distinct = {str(messages): messages for messages in engine.messages}
    return list(distinct.values())[:SAMPLED_PROMPTS]


def finish(engine: GroupEngine, standing: Standing, started: float) -> None:
    """Save what was trained. Process 0 alone writes."""
    run, spec, config = engine.run, engine.spec, engine.config
    facts = save(engine)
    if not engine.together.is_first:
        return
    first, last = standing.first, standing.last
    run.finish(
        {
            "prompts": len(engine.prompts),
            "prompts_too_long": engine.too_long,
            "episodes": config.steps * config.batch_size,
            "steps": standing.step,
            "first_loss": first.get("loss", math.nan),
            "last_loss": last.get("loss", math.nan),
            **facts,
            "first_score": first.get("score"),
            "last_score": last.get("score"),
            "last_kl": last.get("kl"),
            "adapters": config.adapters,
            # Whether the quick ways were taken: a model unlike Llama runs through its own forward, and is slower.
            "fast_decoder": isinstance(engine.decoder, LlamaDecoder),
            "packed_layers": engine.policy.packed,
            **trust_rows(spec, config, run),
            "how_to_read": "A score is the mean of a batch before the KL term. The run trains on the score, so "
            "compare models by votes.",
            "seconds": time.monotonic() - started,
        }
    )


def save(engine: GroupEngine) -> Row:
    """Write the model; return how near it is to what was trained."""
    run = engine.run
    run.progress("Saving", 0, 1)
    trained: Any = engine.trained_model()
    if not engine.together.is_first:
        return {}
    folder, weights = run.begin_model(), trained.weights or None
    saved = children.save_child(engine.spec.parent, trained.model, engine.tokenizer, folder, engine.prompts, weights)
    run.commit_model()
    return {"hash": loading.weights_hash(run.model), **saved.facts(), **kept_of(engine).facts()}
