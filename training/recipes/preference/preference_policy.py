"""Train by DPO and KTO with TRL: a policy that learns from annotations directly, measured on held-out ones.

What differs between the two stays in their recipes: the examples, the trainer, and what they count.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from itertools import chain
from typing import Any

import numpy as np
from datasets import Dataset, Features, List, Value
from datasets.arrow_writer import ArrowWriter

from common import atomic_files
from training.configs.preference import PreferenceConfig
from training.core.run_directory import Row, RunDirectory, RunSpec
from training.core.token_table import forget_tables, tables_folder
from training.recipes.common import loading
from training.recipes.preference import preference_data, trl_runs
from training.recipes.preference.preference_data import Judgements
from training.recipes.reward.reward_accuracy import as_rows
from training.rl.sampler import Sampling

PROMPTS_FOR_SAMPLES = 64  # that are looked at for a few with other texts


def load(run: RunDirectory, spec: RunSpec, config: PreferenceConfig) -> tuple[Any, Any, Judgements]:
    """Return (model, tokenizer, annotations)."""
    run.progress("Loading the model", 0, 1)
    model, tokenizer = trl_runs.load(spec, config.adapters)
    return model, tokenizer, preference_data.read(run, tokenizer, config, spec.seed)


def carry_out(
    run: RunDirectory, spec: RunSpec, config: PreferenceConfig, model: Any, tokenizer: Any, data: Judgements, *,
    examples: Iterable[Row], learnt_from: np.ndarray, phase: str, trainer_class: type, args: Any, counts: Row,
) -> None:  # fmt: skip
    """Train, save, measure what was saved on held-out prompts. `learnt_from`: completions whose prompts are sampled."""
    started = time.monotonic()
    reference = trl_runs.load(spec, "full")[0] if config.adapters == "full" else None  # to the bit the same function
    trainer = trainer_class(
        model=model,
        ref_model=reference,
        args=args,
        train_dataset=mapped_dataset(run, examples),
        processing_class=tokenizer,
        peft_config=trl_runs.adapters_for(model, config.adapters, config.lora_rank),
        callbacks=[
            trl_runs.Follower(
                run, tokenizer, preference_data.first_messages(run, data, learnt_from, PROMPTS_FOR_SAMPLES), spec.seed,
                config.sample_every,
                Sampling(config.sample_tokens, 0.7), config.max_prompt_tokens, phase,
            )
        ],
    )  # fmt: skip
    trl_runs.train(trainer, run)
    policy, facts = trl_runs.save(trainer, tokenizer, run, spec, data.texts())
    run.progress("Measuring on held-out prompts", 0, 1)
    parent = reference or loading.load_policy(spec.parent, policy.dtype)[0]
    figures = preference_data.held_out_figures(policy, parent, data, config.beta, tokenizer.pad_token_id, spec.seed)
    forget_tables(run)
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


def mapped_dataset(run: RunDirectory, examples: Iterable[Row]) -> Dataset:
    """Return the examples as a dataset that is mapped from a file beside the run's tables: few are in memory at a time.

    Each attempt writes it anew, from token ids that the first has encoded.
    """
    rows = iter(examples)
    first = next(rows)
    features = {name: List(Value("int32")) if name.endswith("_ids") else Value("bool") for name in first}
    path = tables_folder(run) / "examples.arrow"
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
