"""Train by DPO and KTO: a policy that learns from annotations directly, measured on held-out ones.

    0. plan       how many tokens at once, by the memory there is (`batch_planner`)
    1. reference  the parent's log-probabilities of the answers that are asked for, once (`reference_logprobs`)
    2. step       batch_size examples: forward and backward in parts, the mean of their losses (`preference_step`)
    3. follow     loss, margins, memory; sample completions of the same few prompts with the same seeds
    4. save       the parent and an adapter, or every weight (`children`)
    5. measure    what was saved, loaded back: whether it favours what people preferred on held-out prompts

What differs between the two stays in their recipes and objectives. The model that learns and its loop's parts are those
of SFT (docs/adr/0033-dpo-and-kto-in-a-loop-of-our-own.md). Order, weights and moments come from the run's seed and the
checkpoint: a run killed at any moment and resumed ends in the same bits on a processor.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from training.configs.preference import PreferenceConfig
from training.core import batch_planner
from training.core.run_directory import RecipeFailure, Row, RunDirectory, RunSpec
from training.recipes.common import chat_samples, children, loading, steps
from training.recipes.common.children import KeptSteps, child_writer
from training.recipes.common.memory import available_memory
from training.recipes.common.processes import Processes, directory_of, join, spread_files
from training.recipes.preference import preference_data
from training.recipes.preference.answer_examples import AnswerExamples, AnswerPlaces
from training.recipes.preference.preference_data import Judgements
from training.recipes.preference.preference_objectives import Figures, Objective
from training.recipes.preference.preference_step import Learning, take_step, tokens_of
from training.recipes.preference.reference_logprobs import reference_logprobs, summed_logprobs
from training.recipes.reward.reward_accuracy import as_rows
from training.recipes.sft import trained_model
from training.recipes.sft.trained_model import Student
from training.rl.sampler import Sampling

SAMPLED_PROMPTS = 4
PROMPTS_FOR_SAMPLES = 64  # that are looked at for a few with other texts


@dataclass
class Standing:
    """Say how far a run is; kept in its checkpoints."""

    step: int = 0
    first_loss: float = math.nan
    last_loss: float = math.nan


@dataclass(frozen=True)
class Work:
    """Hold what is learnt from by whom."""

    run: RunDirectory
    spec: RunSpec
    config: PreferenceConfig
    together: Processes
    policy: Student
    tokenizer: Any
    data: Judgements

    def chosen(self, name: str, make: Callable[[], Any]) -> Any:
        return _chosen(self.run, self.together, name, make)


@dataclass(frozen=True)
class Course:
    """Hold what a run goes through: its steps, and whom it shows."""

    work: Work
    learning: Learning
    order: steps.Order
    prompts: list[Any]  # whose answers are sampled
    phase: str
    recompute: bool

    @property
    def total_steps(self) -> int:
        return self.order.total_steps

    @property
    def kept(self) -> KeptSteps:
        work = self.work
        write = child_writer(work.spec.parent, work.tokenizer)
        return KeptSteps(work.run, work.together, write, work.config.kept_checkpoints, self.total_steps)

    def rate(self, step: int) -> float:
        config, total = self.work.config, self.total_steps
        warmup = math.ceil(config.warmup_ratio * total)
        return config.rate * steps.schedule_factor(step, total, kind="linear", warmup=warmup)


def load(run: RunDirectory, spec: RunSpec, config: PreferenceConfig) -> Work:
    """Join the other processes, if there are some, and load model, tokenizer and annotations."""
    together = join(sharding=config.sharding, batch_size=config.rows_at_once, limit=config.limit)
    run = directory_of(run, together)
    run.progress("Loading the model", 0, 1)
    name = _chosen(run, together, "dtype", lambda: str(loading.compute_dtype()).removeprefix("torch."))
    dtype, is_split = getattr(torch, name), together.is_sharded
    model, tokenizer = trained_model.load(spec.parent, config.adapters, dtype, to_split=is_split)
    config = within_window(config, model)
    data = together.first_then_all(lambda: preference_data.read(run, tokenizer, config, spec.seed))
    policy = Student(
        model, config.adapters, rank=config.lora_rank, seed=spec.seed, dtype=dtype, is_sharded=is_split, any_logits=True
    )
    return Work(run, spec, config, together, policy, tokenizer, data)


def within_window(config: PreferenceConfig, model: Any) -> PreferenceConfig:
    """Return the config with prompts and completions that fit into the model's window together."""
    prompt, answer = loading.shared_context(model, config.max_prompt_tokens, config.max_completion_tokens)
    return replace(config, max_prompt_tokens=prompt, max_completion_tokens=answer)


def _chosen(run: RunDirectory, together: Processes, name: str, make: Callable[[], Any]) -> Any:
    """Choose once, by the first process for all, and for every attempt."""
    return together.from_first(lambda: batch_planner.remembered(run.path, name, make))


def carry_out(work: Work, objective: Objective, places: AnswerPlaces, *, phase: str, counts: Row) -> None:
    """Train, save, measure what was saved on held-out prompts."""
    started = time.monotonic()
    course = prepare(work, objective, places, phase)
    optimiser = work.policy.masters.optimiser(rate=work.config.rate, weight_decay=0.0, beta2=0.999)
    standing = resume(work, optimiser)
    learn(course, optimiser, standing)
    finish(course, places, standing, counts, started)
    work.together.leave()


def prepare(work: Work, objective: Objective, places: AnswerPlaces, phase: str) -> Course:
    """Plan, and compute the reference before any weight is another than the parent's."""
    config, policy, together = work.config, work.policy, work.together
    examples = AnswerExamples(work.data, places.places)
    plan = batch_planner.Plan(**work.chosen("plan", lambda: asdict(plan_of(work, objective, examples))))
    order = steps.Order(len(objective.answers), work.spec.seed, config.batch_size, config.epochs)
    asked = [of[order.taken()].ravel() for of in (objective.answers, objective.elsewhere) if of is not None]
    wanted = np.unique(np.concatenate([*asked, places.of(work.data.held_out_completions())]))
    work.run.progress("Running the frozen layers", 0, 1)
    policy.keep_trunk(examples, plan.tokens, wanted.tolist())
    reference = reference_logprobs(work.run, policy, examples, wanted, plan.tokens, together)
    policy.begin(plan.recompute)
    learning = Learning(config, policy, objective, examples, reference, plan.tokens, together)
    learnt_from = places.places[objective.answers.ravel(), 0]
    prompts = preference_data.first_messages(work.run, work.data, learnt_from, PROMPTS_FOR_SAMPLES)
    distinct = list({str(messages): messages for messages in prompts}.values())
    return Course(work, learning, order, distinct[:SAMPLED_PROMPTS], phase, plan.recompute)


def plan_of(work: Work, objective: Objective, examples: AnswerExamples) -> batch_planner.Plan:
    config, policy, count = work.config, work.policy, work.together.count
    lengths = np.sort(tokens_of(policy, examples, objective.answers))
    return batch_planner.plan(
        policy.shape(),
        learnt=policy.learnt() // work.together.shares,
        longest=int(lengths[-1]),
        batch_tokens=int(lengths[-math.ceil(config.rows_at_once / count) :].sum()),
        available=available_memory(count),
        most=batch_planner.CPU_TOKENS if policy.device.type == "cpu" else batch_planner.GPU_TOKENS,
        checkpointing=config.activation_checkpointing,
        shorter="smaller max_prompt_tokens or max_completion_tokens",
        row=int(examples.token_counts[objective.answers].max()),
        device=policy.device.type,
    )


def learn(course: Course, optimiser: torch.optim.Optimizer, standing: Standing) -> None:
    work, total = course.work, course.total_steps
    work.run.progress(course.phase, standing.step, total)
    if standing.step == 0:
        show_samples(course, 0)
    while standing.step < total:
        started = time.monotonic()
        rate = course.rate(standing.step)
        rows = course.order.batch(standing.step)
        figures = take_step(course.learning, optimiser, rows, step=standing.step + 1, rate=rate)
        standing.step, standing.last_loss = standing.step + 1, figures["loss"]
        standing.first_loss = figures["loss"] if standing.step == 1 else standing.first_loss
        log(course, standing, figures, time.monotonic() - started)
        after_step(course, optimiser, standing)


def log(course: Course, standing: Standing, figures: Figures, seconds: float) -> None:
    run, peak = course.work.run, steps.peak_memory_gb(course.work.policy.device)
    run.log_metrics(standing.step, **figures, seconds=seconds, peak_memory_gb=peak)
    run.progress(course.phase, standing.step, course.total_steps)


def after_step(course: Course, optimiser: torch.optim.Optimizer, standing: Standing) -> None:
    work, step, is_last = course.work, standing.step, standing.step == course.total_steps
    if step % work.config.sample_every == 0 or is_last:
        show_samples(course, step)
    course.kept.note(step, lambda: work.policy.trained(work.spec.parent, is_first=work.together.is_first))
    if step % work.config.checkpoint_every == 0 or is_last:
        steps.save_checkpoint(
            work.run, work.together, step, parameters=work.policy.masters.masters, optimiser=optimiser,
            extra={"standing": asdict(standing)},
        )  # fmt: skip


def show_samples(course: Course, step: int) -> None:
    """Sample the same prompts with the same seeds each time; the training's generators are not touched."""
    work, config = course.work, course.work.config
    if not (work.together.is_first or work.together.is_sharded):
        return
    chat_samples.log_answers(
        work.run, work.policy.model, work.tokenizer, course.prompts, step=step, seeds=(work.spec.seed, "sample"),
        sampling=Sampling(config.sample_tokens, 0.7), max_prompt_tokens=config.max_prompt_tokens,
    )  # fmt: skip


def resume(work: Work, optimiser: torch.optim.Optimizer) -> Standing:
    latest = steps.checkpoint_to_resume(work.run, work.together)
    if latest is None:
        work.run.truncate_logs(-1)
        return Standing()
    masters = work.policy.masters
    extra = steps.load_state(latest, parameters=masters.masters, optimiser=optimiser)
    if "standing" not in extra:  # of several processes and every weight: the names of weights are the same
        raise RecipeFailure(
            "checkpoint_unreadable",
            f"The checkpoint in {latest.name} was written by an earlier version's loop.",
            "Delete that checkpoint's folder and resume: the run continues from the one before it, or from the start.",
        )
    standing = Standing(**extra["standing"])
    masters.publish()
    work.run.truncate_logs(standing.step)
    return standing


def finish(course: Course, places: AnswerPlaces, standing: Standing, counts: Row, started: float) -> None:
    """Save, measure what was saved. Process 0 alone writes."""
    work = course.work
    run, policy, config = work.run, work.policy, work.config
    packed = policy.is_packed
    facts = save(course)
    run.progress("Measuring on held-out prompts", 0, 1)
    figures = preference_data.held_out_figures(implicit_rewards(course, places), work.data, work.spec.seed)
    if not work.together.is_first:
        return
    run.finish(
        {
            **counts,
            "steps": standing.step,
            "first_loss": standing.first_loss,
            "last_loss": standing.last_loss,
            "hash": loading.weights_hash(run.model),
            **facts,
            **course.kept.facts(),
            "adapters": config.adapters,
            "held_out": as_rows(figures),
            "verdict": preference_data.verdict(figures),
            "tokens_at_once": course.learning.tokens,
            "activations_computed_twice": course.recompute,
            "packed_layers": packed,
            "seconds": time.monotonic() - started,
        }
    )


def save(course: Course) -> Row:
    """Write the model, and measure with it from now on, as every process loads it back; return how near it is."""
    work = course.work
    run, policy, together = work.run, work.policy, work.together
    run.progress("Saving", 0, 1)
    together.wait()
    trained, facts = policy.trained(work.spec.parent, is_first=together.is_first), {}
    if together.is_first:
        folder = run.begin_model()
        saved = children.save_child(
            work.spec.parent, trained.model, work.tokenizer, folder, work.data.texts(), trained.weights
        )
        run.commit_model()
        facts = saved.facts()
    together.wait()
    spread_files(together, run.model)
    is_sharded = together.is_sharded
    policy.measure_with(saved.model if facts else loading.load_policy(run.model, policy.dtype, to_split=is_sharded)[0])
    return facts


def implicit_rewards(course: Course, places: AnswerPlaces) -> np.ndarray:
    """Return (N,) beta * (log pi(y|x) - log pi_ref(y|x)) of the held-out completions (Rafailov 2023, eq. 5) under what
    was saved, 0 for the others."""
    work, learning = course.work, course.learning
    completions = work.data.held_out_completions()
    rows = places.of(completions)
    logprobs = summed_logprobs(work.policy, learning.examples, rows, learning.tokens, work.together)
    rewards = np.zeros(len(work.data.completions))
    rewards[completions] = work.config.beta * (logprobs - learning.reference[rows])
    return rewards
