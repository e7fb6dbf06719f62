"""Supervised finetuning: `python -m training.recipes.sft RUN_DIR`.

Learns the answers of `data/examples.jsonl` (demonstrations, best-rated answers, chats, instructions) with the loss on
the answers only (`sft_examples`), in a loop of our own; docs/adr/0009-sft-in-a-loop-of-our-own.md has the reasons.

    0. hold out   some prompts' answers, to measure perplexity before and after (`sft_measures`)
    1. plan       how many tokens at once, activations kept or computed twice, by the memory there is (`fit`)
    2. step       batch_size examples: forward and backward in micro-batches, the mean over all that the batch learns
    3. follow     loss, pace, memory; sample completions of the same few prompts with the same seeds; held-out loss
    4. save       the step with the lowest held-out loss, or the last (`keep`): the parent and an adapter (`children`)
    5. measure    what was saved, loaded back: held-out loss, and how near it is to what was trained

The order of the examples comes from the run's seed and the epoch, weights and moments from the checkpoint: a run killed
at any moment and resumed ends in the same bits on a processor. With `processes` above 1, `accelerate launch` starts
this module for each; it takes its share of every batch, and of the weights with `sharding` full. Left out: NEFTune.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from training.configs import SFTConfig
from training.core import batch_planner
from training.core.run_directory import RunDirectory, RunSpec
from training.recipes.common import chat_samples, children, loading, sharding, steps
from training.recipes.common.children import KeptSteps
from training.recipes.common.entry import config_of, run_recipe
from training.recipes.common.memory import available_memory
from training.recipes.common.processes import Processes, directory_of, join, spread_files
from training.recipes.sft import best_weights as sft_best
from training.recipes.sft import perplexity as sft_measures
from training.recipes.sft import trained_model as sft_student
from training.recipes.sft.examples import (
    Example,
    Messages,
    StoredExamples,
    first_prompts,
    require_examples,
    store_examples,
)
from training.recipes.sft.trained_model import Student
from training.rl.factors import in_float64
from training.rl.sampler import Sampling

SAMPLED_PROMPTS = 4


@dataclass
class Standing:
    """Say how far a run is; kept in its checkpoints. `before` are the held-out examples' losses under the parent.

    `best_loss` is the lowest held-out loss so far, in nats a token, and `best_step` where it was measured; 0: nowhere.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    first_loss: float = math.nan
    last_loss: float = math.nan
    before: list[float] = field(default_factory=list)
    best_step: int = 0
    best_loss: float = math.inf


@dataclass(frozen=True)
class Work:
    """Hold what is learnt by whom, and how; `plan.tokens` are forwarded at once."""

    run: RunDirectory
    config: SFTConfig
    seed: int
    student: Student
    tokenizer: Any
    learn: StoredExamples
    held_out: StoredExamples
    prompts: list[Messages]
    plan: batch_planner.Plan
    together: Processes
    parent: str

    @property
    def keeps_best(self) -> bool:
        """Return whether the best step is kept. Without held-out examples nothing says which step was best, and the
        last is kept."""
        return self.config.keep == "best" and bool(self.held_out)

    @property
    def kept(self) -> KeptSteps:
        write = children.child_writer(self.parent, self.tokenizer)
        return KeptSteps(self.run, self.together, write, self.config.kept_checkpoints, self.order.total_steps)

    @property
    def order(self) -> steps.Order:
        return steps.Order(len(self.learn), self.seed, self.config.batch_size, self.config.epochs)


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: SFTConfig = config_of(spec)
    together = join(sharding=config.sharding, batch_size=config.batch_size)
    work = prepare(directory_of(run, together), spec, together)
    optimiser = work.student.masters.optimiser(
        rate=work.config.rate, weight_decay=work.config.weight_decay, beta2=0.999
    )
    standing = resume(work, optimiser)
    if work.order.total_steps > work.order.steps_per_epoch:
        work.run.progress("Running the frozen layers", 0, 1)
        work.student.keep_trunk(work.learn + work.held_out, work.plan.tokens)
    if standing.step == 0:
        begin(work, standing)
    learn(work, optimiser, standing)
    finish(work, standing)
    together.leave()


def prepare(run: RunDirectory, spec: RunSpec, together: Processes) -> Work:
    config: SFTConfig = config_of(spec)
    run.progress("Reading the examples", 0, 1)
    require_examples(run)
    run.progress("Loading the model", 0, 1)

    def chosen(name: str, make: Callable[[], Any]) -> Any:
        """Choose once, by the first process for all, and for every attempt: each might find another amount of memory
        free."""
        return together.from_first(lambda: batch_planner.remembered(run.path, name, make))

    dtype = getattr(torch, chosen("dtype", lambda: str(loading.compute_dtype()).split(".")[-1]))
    model, tokenizer = sft_student.load(spec.parent, config.adapters, dtype, to_split=together.is_sharded)
    longest = loading.context_length(model, config.max_length)
    examples = together.first_then_all(lambda: store_examples(run, tokenizer, longest))
    trained, held_out = examples.hold_out(config.held_out, config.evaluate_limit)
    student = Student(
        model, config.adapters, rank=config.lora_rank, seed=spec.seed, dtype=dtype, is_sharded=together.is_sharded
    )
    plan_fields = chosen("plan", lambda: asdict(plan_of(config, student, examples, together)))
    student.begin(plan_fields["recompute"])
    return Work(
        run, config, spec.seed, student, tokenizer, trained, held_out, first_prompts(run, SAMPLED_PROMPTS),
        batch_planner.Plan(**plan_fields), together, spec.parent,
    )  # fmt: skip


def plan_of(config: SFTConfig, student: Student, examples: StoredExamples, together: Processes) -> batch_planner.Plan:
    lengths = sorted(examples.lengths)
    return batch_planner.plan(
        student.shape(),
        learnt=student.learnt() // together.shares,
        longest=lengths[-1],
        batch_tokens=sum(lengths[-math.ceil(config.batch_size / together.count) :]),
        available=available_memory(together.count),
        most=batch_planner.CPU_TOKENS if student.device.type == "cpu" else batch_planner.GPU_TOKENS,
        checkpointing=config.activation_checkpointing,
        device=student.device.type,
    )


def begin(work: Work, standing: Standing) -> None:
    """Record what the parent says and what the held-out answers cost it, before anything is learnt."""
    show_samples(work, 0)
    standing.before = measure(work)
    sft_measures.log_perplexity(work.run, 0, standing.before, work.held_out)


def learn(work: Work, optimiser: torch.optim.Optimizer, standing: Standing) -> None:
    config, total, pace = work.config, work.order.total_steps, steps.Pace()
    started = time.monotonic() - standing.seconds
    work.run.progress("Finetuning", standing.step, total)
    while standing.step < total:
        examples = batch(work, standing.step)
        rate = config.rate * rate_factor(config, standing.step, total)
        loss, norm = optimise(work, optimiser, examples, standing.step, rate)
        tokens = sum(len(example.tokens) for example in examples)
        standing.step, standing.tokens, standing.last_loss = standing.step + 1, standing.tokens + tokens, loss
        standing.first_loss = loss if standing.step == 1 else standing.first_loss
        standing.seconds = time.monotonic() - started
        work.run.log_metrics(
            standing.step, loss=loss, grad_norm=norm, learning_rate=rate,
            tokens_per_second=pace.tokens_per_second(tokens),
            peak_memory_gb=steps.peak_memory_gb(work.student.device), seconds=standing.seconds,
        )  # fmt: skip
        work.run.progress("Finetuning", standing.step, total)
        after_step(work, optimiser, standing, is_last=standing.step == total)


def batch(work: Work, step: int) -> list[Example]:
    """Return the examples of one optimiser step."""
    return [work.learn[i] for i in work.order.batch(step)]


def rate_factor(config: SFTConfig, step: int, total: int) -> float:
    return steps.schedule_factor(step, total, kind=config.schedule, warmup=math.ceil(config.warmup_ratio * total))


def optimise(
    work: Work, optimiser: torch.optim.Optimizer, examples: list[Example], step: int, rate: float
) -> tuple[float, float]:
    """Take one optimiser step: return the loss, a mean over all learnt tokens of the batch, and the gradient's norm."""
    student, targets = work.student, sum(example.targets for example in examples)
    own_examples = work.together.share(examples)
    nats = 0.0
    groups = batch_planner.micro_batches(
        [len(e.tokens) for e in own_examples], work.plan.tokens, padded=not student.is_packed
    )
    parts = [[own_examples[i] for i in indices] for indices in groups]
    for part, counts in work.together.in_step(parts, work.learn[:1]):
        loss, losses = student.loss(part, counts / targets)
        loss.backward()
        student.masters.collect()
        nats += float(in_float64(losses).sum()) * counts
    loss_of_all = work.together.total(nats)[0] / targets
    work.together.add_gradients(student.masters.all_gradients())
    norm = steps.clip_gradients(
        student.masters.masters.values(), work.config.max_grad_norm, loss=loss_of_all, step=step + 1
    )
    steps.set_learning_rate(optimiser, rate)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    student.masters.publish()
    return loss_of_all, norm


def after_step(work: Work, optimiser: torch.optim.Optimizer, standing: Standing, *, is_last: bool) -> None:
    config, step = work.config, standing.step
    if step % config.sample_every == 0 or is_last:
        show_samples(work, step)
    if work.keeps_best if is_last else step % config.evaluate_every == 0:
        losses = measure(work)
        is_best = keep_if_best(work, standing, losses)
        if not (is_last and is_best):  # what is kept is logged as it is saved
            sft_measures.log_perplexity(work.run, step, losses, work.held_out)
    work.kept.note(step, lambda: work.student.trained(work.parent, is_first=work.together.is_first))
    if step % config.checkpoint_every == 0 or is_last:
        checkpoint(work, optimiser, standing)


def measure(work: Work) -> list[float]:
    """Return each held-out example's summed loss in nats, under the student as it is."""
    return sft_measures.losses_of(work.student, work.held_out, work.plan.tokens, work.together)


def keep_if_best(work: Work, standing: Standing, losses: list[float]) -> bool:
    """Save the weights of this step where its held-out loss is the lowest so far; of equal ones the first stays."""
    if not work.keeps_best:
        return False
    loss = sum(losses) / sum(example.targets for example in work.held_out)
    if is_best := loss < standing.best_loss:
        standing.best_step, standing.best_loss = standing.step, loss
        weights = work.student.masters.masters
        if work.together.is_sharded:
            weights = sharding.gathered(weights, is_first=work.together.is_first)
        if work.together.is_first:
            sft_best.save(work.run, standing.step, weights)
    return is_best


def show_samples(work: Work, step: int) -> None:
    """Sample the same prompts with the same seeds each time; the training's generators are not touched."""
    if not (work.together.is_first or work.together.is_sharded):
        return
    config = work.config
    chat_samples.log_answers(
        work.run, work.student.model, work.tokenizer, work.prompts, step=step, seeds=(work.seed, "sft sample"),
        sampling=Sampling(config.sample_tokens, 0.7), max_prompt_tokens=config.max_length,
    )  # fmt: skip


def checkpoint(work: Work, optimiser: torch.optim.Optimizer, standing: Standing) -> None:
    steps.save_checkpoint(
        work.run, work.together, standing.step, parameters=work.student.masters.masters, optimiser=optimiser,
        extra={"standing": asdict(standing)},
    )  # fmt: skip
    if work.together.is_first:
        sft_best.forget_others(work.run, standing.best_step)


def resume(work: Work, optimiser: torch.optim.Optimizer) -> Standing:
    latest = steps.checkpoint_to_resume(work.run, work.together)
    if latest is None:
        work.run.truncate_logs(-1)
        return Standing()
    extra = steps.load_state(latest, parameters=work.student.masters.masters, optimiser=optimiser)
    work.student.masters.publish()
    standing = Standing(**extra["standing"])
    work.run.truncate_logs(standing.step)
    return standing


def take_best(work: Work, standing: Standing) -> int:
    """Bring back the weights of the step with the lowest held-out loss; return that step."""
    if standing.best_step != standing.step:
        spread_files(work.together, sft_best.file_of(work.run, standing.best_step))
        sft_best.load(work.run, standing.best_step, work.student.masters.masters)
        work.student.masters.publish()
    return standing.best_step


def finish(work: Work, standing: Standing) -> None:
    """Take the step that is kept, save it, measure what was saved. Process 0 alone writes."""
    run, student = work.run, work.student
    run.progress("Saving", 0, 1)
    work.together.wait()
    kept_step = take_best(work, standing) if work.keeps_best else standing.step
    packed, facts, is_sharded = student.is_packed, {}, work.together.is_sharded
    trained = student.trained(work.parent, is_first=work.together.is_first)
    if work.together.is_first:
        shown = (example.tokens for example in (work.held_out or work.learn))
        folder = run.begin_model()
        saved = children.save_child(work.parent, trained.model, work.tokenizer, folder, shown, trained.weights)
        run.commit_model()
        facts = saved.facts()
    work.together.wait()
    spread_files(work.together, run.model)
    run.progress("Measuring what was saved", 0, 1)
    student.measure_with(
        saved.model if facts else loading.load_policy(run.model, student.dtype, to_split=is_sharded)[0]
    )
    after = measure(work)
    if kept_step == standing.step:
        sft_measures.log_perplexity(run, kept_step, after, work.held_out)
    if not work.together.is_first:
        return
    run.finish(
        {
            "examples": len(work.learn),
            "completion_tokens": sum(example.targets for example in work.learn),
            "cut_examples": sum(e.tokens[-1] != work.tokenizer.eos_token_id for e in work.learn + work.held_out),
            "held_out": sft_measures.comparison(standing.before, after, work.held_out) if after else None,
            "steps": standing.step,
            "keep": "best" if work.keeps_best else "last",
            "kept_step": kept_step,
            **work.kept.facts(lambda step: step != kept_step),
            "first_loss": standing.first_loss,
            "last_loss": standing.last_loss,
            "adapters": work.config.adapters,
            "hash": loading.weights_hash(run.model),
            **facts,
            "tokens": standing.tokens,
            "tokens_per_second": standing.tokens / max(standing.seconds, 1e-9),
            "tokens_at_once": work.plan.tokens,
            "activations_computed_twice": work.plan.recompute,
            "packed_layers": packed,
            "peak_memory_gb": steps.peak_memory_gb(student.device),
            "seconds": standing.seconds,
        }
    )


if __name__ == "__main__":
    run_recipe(main)
