"""Train by DPO and KTO with TRL: a policy that learns from annotations directly, measured on held-out ones.

What differs between the two stays in their recipes: the examples, the trainer, and what they count.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from datasets import Dataset, Features, List, Value
from datasets.arrow_writer import ArrowWriter

from common import atomic_files
from training.configs.preference import PreferenceConfig
from training.core.run_directory import Row, RunDirectory, RunSpec
from training.core.token_table import tables_folder
from training.recipes.common import loading, sharding
from training.recipes.common.children import KeptSteps
from training.recipes.common.processes import ONE_PROCESS, Processes, directory_of, join
from training.recipes.preference import preference_data, trl_runs
from training.recipes.preference.preference_data import Judgements
from training.recipes.preference.shared_trainer import shared
from training.recipes.reward.reward_accuracy import as_rows
from training.rl.sampler import Sampling

PROMPTS_FOR_SAMPLES = 64  # that are looked at for a few with other texts


@dataclass(frozen=True)
class Work:
    """Hold what is learnt from by whom."""

    run: RunDirectory
    together: Processes
    model: Any
    tokenizer: Any
    data: Judgements


def load(run: RunDirectory, spec: RunSpec, config: PreferenceConfig) -> Work:
    """Join the other processes, if there are some, and load model, tokenizer and annotations."""
    together = join(sharding=config.sharding, batch_size=config.rows_at_once, limit=config.limit)
    run = directory_of(run, together)
    run.progress("Loading the model", 0, 1)
    model, tokenizer = trl_runs.load(spec, config.adapters, to_split=together.is_sharded)
    data = together.first_then_all(lambda: preference_data.read(run, tokenizer, config, spec.seed))
    return Work(run, together, model, tokenizer, data)


def carry_out(
    work: Work, spec: RunSpec, config: PreferenceConfig, *, examples: Iterable[Row], learnt_from: np.ndarray,
    phase: str, trainer_class: type, args: Any, counts: Row,
) -> None:  # fmt: skip
    """Train, save, measure what was saved on held-out prompts. `learnt_from`: completions whose prompts are sampled."""
    run, together, model, tokenizer, data = work.run, work.together, work.model, work.tokenizer, work.data
    started, to_split = time.monotonic(), together.is_sharded
    is_full = config.adapters == "full"
    reference = trl_runs.load(spec, "full", to_split=to_split)[0] if is_full else None  # to the bit the same function
    is_shared = config.processes > 1  # also where one process goes on with what several have begun
    adapters = trl_runs.adapters_for(model, config.adapters, config.lora_rank)
    kept = KeptSteps(run, together, spec.parent, tokenizer, config.kept_checkpoints, args.max_steps)
    follower = trl_runs.Follower(
        run,
        tokenizer,
        preference_data.first_messages(run, data, learnt_from, PROMPTS_FOR_SAMPLES),
        spec.seed,
        config.sample_every,
        Sampling(config.sample_tokens, 0.7),
        config.max_prompt_tokens,
        phase,
        kept,
        partial(trl_runs.load_beginning, spec, config.adapters, adapters),
        together=together,
    )
    trainer = (shared(trainer_class) if is_shared else trainer_class)(
        model=model,
        ref_model=reference,
        args=args,
        train_dataset=together.first_then_all(lambda: mapped_dataset(run, examples, together)),
        processing_class=tokenizer,
        peft_config=adapters,
        **({"run": run, "together": together} if is_shared else {}),
        callbacks=[follower],
    )  # fmt: skip
    trl_runs.train(trainer, run, together)

    policy, facts = trl_runs.save(trainer, tokenizer, run, spec, data.texts(), together, follower)
    run.progress("Measuring on held-out prompts", 0, 1)
    parent = reference
    if parent is None:
        parent = loading.load_policy(spec.parent, policy.dtype, to_split=to_split)[0]
        if to_split:
            sharding.shard(parent)
    figures = preference_data.held_out_figures(
        policy, parent, data, config.beta, tokenizer.pad_token_id, spec.seed, together
    )
    together.leave()
    if not together.is_first:
        return
    run.finish(
        {
            **counts,
            **facts,
            "adapters": config.adapters,
            "held_out": as_rows(figures),
            "verdict": preference_data.verdict(figures),
            "seconds": time.monotonic() - started,
        }
    )


def mapped_dataset(run: RunDirectory, examples: Iterable[Row], together: Processes = ONE_PROCESS) -> Dataset:
    """Return the examples as a dataset that is mapped from a file beside the run's tables: few are in memory at a time.

    Each attempt's first process writes it anew, from token ids that the first attempt has encoded.
    """
    path = tables_folder(run) / "examples.arrow"
    if not together.is_first:
        return Dataset.from_file(str(path))
    rows = iter(examples)
    first = next(rows)
    features = {name: List(Value("int32")) if name.endswith("_ids") else Value("bool") for name in first}
    path.parent.mkdir(exist_ok=True)
    with (
        atomic_files.replacing(path, is_synced=False) as partial,
        ArrowWriter(path=str(partial), features=Features(features)) as writer,
    ):
        for row in chain([first], rows):
            writer.write(row)
        writer.finalize()
    return Dataset.from_file(str(path))


def arguments(run: RunDirectory, spec: RunSpec, config: PreferenceConfig, count: int) -> Row:
    """Return what both trainers' configs get for `count` examples."""
    steps = max(math.ceil(math.ceil(count / config.batch_size) * config.epochs), 1)
    return {
        **trl_runs.arguments(run, spec, config),
        "max_steps": steps,
        "lr_scheduler_type": "linear",
        "warmup_steps": math.ceil(config.warmup_ratio * steps),
        "beta": config.beta,
        "max_length": None,  # cut by preference_data
    }
