"""Train by GRPO and RLOO with TRL: a group of answers to each prompt, each rewarded by its score within the group.

Prompts come from `data/prompts.jsonl`, scores from a reward model, a Python function of (prompts, texts) or several
parts. A reward model's scores are standardised by what it saw in training, so that `beta` and learning rates mean the
same from one reward model to the next.

Answers are drawn by our sampler, with a seed for each row of each step (`shared_groups`): a run that is resumed, or
goes on with another number of processes, draws what it would have drawn. TRL's own shuffling is not restored, so the
prompts of all steps are laid out beforehand. What it cannot do is resume within a batch of completions that is used
several times; here every batch is used once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from datasets import Dataset

from training.configs.group import GroupConfig
from training.core.run_directory import RecipeFailure, Row, RunDirectory, RunSpec
from training.recipes.common import loading
from training.recipes.common.children import KeptSteps, child_writer
from training.recipes.common.processes import ONE_PROCESS, Processes, directory_of, join
from training.recipes.preference import trl_runs
from training.recipes.preference.shared_groups import drawing, shared_groups
from training.recipes.rewards.scoring import (
    Messages,
    TextScorer,
    part_values,
    require_trust,
    text_scorer_for,
    trust_rows,
)
from training.rl.guards import distinct_share
from training.rl.sampler import Sampling


@dataclass
class Scores:
    """TRL's reward function; it also remembers what the last batch was like, for the log."""

    scorer: TextScorer
    clip: float = 0.0  # 0: none
    together: Processes = ONE_PROCESS
    __name__: str = "score"
    last: dict[str, float] = field(default_factory=dict)

    def __call__(self, prompts: list[Messages], completions: list[Any], **_given: Any) -> list[float]:
        texts = [turns[0]["content"] for turns in completions]
        scored = self.scorer(prompts, texts)
        scores = scored.scores.cpu()
        self.last = {"distinct": distinct_share(self.together.gathered(texts))}
        for name, values in scored.figures.items():
            self.last[name] = float(np.mean(self.together.gathered(values.tolist())))
        return (scores.clamp(-self.clip, self.clip) if self.clip else scores).tolist()

    def figures(self) -> dict[str, float]:
        return dict(self.last)

    def of_samples(self, prompts: list[Messages], texts: list[str]) -> list[tuple[float, dict[str, float]]]:
        """Return the score of each answer and what its parts say, for those who watch."""
        scored = self.scorer(prompts, texts)
        return [(score, part_values(scored.figures, row)) for row, score in enumerate(scored.scores.tolist())]


def scores_for(run: RunDirectory, spec: RunSpec, config: GroupConfig, together: Processes = ONE_PROCESS) -> Scores:
    """Return the scores. Raises RecipeFailure when there is neither a function nor a reward model, or both."""
    scorer = text_scorer_for(spec, config, run.rows("prompts"), run)
    return Scores(scorer, config.score_clip if scorer.is_model else 0.0, together)


def prompts_for(run: RunDirectory, tokenizer: Any, most: int) -> tuple[list[Messages], int]:
    """Return the prompts of at most `most` tokens, and how many longer ones were left out."""
    messages = [row["messages"] for row in run.rows("prompts")]
    fitting = [m for m in messages if len(loading.encode_prompt(tokenizer, m, most + 1)) <= most]
    if not fitting:
        raise RecipeFailure(
            "no_prompts",
            f"None of the {len(messages)} prompts has at most {most} tokens.",
            "Freeze a dataset of prompts of the train split first, or raise max_prompt_tokens.",
        )
    return fitting, len(messages) - len(fitting)


def order(count: int, seed: int, config: GroupConfig) -> list[int]:
    """Return which prompt comes when: the steps' prompts, all of them once before any comes again, each pass shuffled
    anew."""
    prompt_count = config.steps * config.batch_size // config.group_size
    passes = range(-(-prompt_count // count))
    return [int(i) for p in passes for i in np.random.default_rng([seed, p]).permutation(count)][:prompt_count]


def carry_out(
    run: RunDirectory, spec: RunSpec, config: GroupConfig, trainer_class: type, config_class: type, options: Row
) -> None:
    """Carry out the whole run; `options` are those that only this algorithm has."""
    require_trust(spec, config)
    together = join(sharding=config.sharding, batch_size=config.rows_at_once, limit=config.limit)
    run = directory_of(run, together)
    run.progress("Loading the models", 0, config.steps)
    scores = scores_for(run, spec, config, together)
    model, tokenizer = trl_runs.load(spec, config.adapters, to_split=together.is_sharded)
    messages, too_long = prompts_for(run, tokenizer, config.max_prompt_tokens)
    started = time.monotonic()
    is_shared = config.processes > 1  # also where one process goes on with what several have begun
    adapters = trl_runs.adapters_for(model, config.adapters, config.lora_rank)
    write = child_writer(spec.parent, tokenizer)
    kept = KeptSteps(run, together, write, config.kept_checkpoints, config.steps)
    follower = trl_runs.Follower(
        run,
        tokenizer,
        messages,
        spec.seed,
        config.sample_every,
        Sampling(config.max_new_tokens, config.temperature),
        config.max_prompt_tokens,
        "Training",
        kept,
        partial(trl_runs.load_beginning, spec, config.adapters, adapters),
        scores.figures,
        together=together,
        score=scores.of_samples if config.rewards else None,
    )
    trainer = (shared_groups if is_shared else drawing)(trainer_class)(
        model=model,
        reward_funcs=scores,
        args=config_class(**arguments(run, spec, config, together), **options),
        train_dataset=Dataset.from_list([{"prompt": messages[i]} for i in order(len(messages), spec.seed, config)]),
        processing_class=tokenizer,
        peft_config=adapters,
        together=together,
        seed=spec.seed,
        **({"run": run} if is_shared else {}),
        callbacks=[follower],
    )  # fmt: skip
    trl_runs.train(trainer, run, together)

    log = [entry for entry in trainer.state.log_history if "reward" in entry]
    shown = (loading.encode_prompt(tokenizer, m, config.max_prompt_tokens) for m in messages)
    _, facts = trl_runs.save(trainer, tokenizer, run, spec, shown, together, follower)
    together.leave()
    if not together.is_first:
        return
    run.finish(
        {
            "prompts": len(messages),
            "prompts_too_long": too_long,
            "episodes": config.steps * config.batch_size,
            **facts,
            "first_score": log[0]["reward"],
            "last_score": log[-1]["reward"],
            "last_kl": log[-1].get("kl"),
            "adapters": config.adapters,
            "fast_decoder": trainer.fast_decoder,  # a model unlike Llama draws through its own forward, and is slower
            **trust_rows(spec, config, run),
            "how_to_read": "A score is the mean of a batch before the KL term. The run trains on the score, so "
            "compare models by votes.",
            "seconds": time.monotonic() - started,
        }
    )


def arguments(run: RunDirectory, spec: RunSpec, config: GroupConfig, together: Processes = ONE_PROCESS) -> Row:
    """Return what both trainers' configs get. TRL counts the rows of one process."""
    return {
        **trl_runs.arguments(run, spec, config),
        "per_device_train_batch_size": config.rows_at_once // together.count,
        "max_steps": config.steps,
        "lr_scheduler_type": config.learning_rate_schedule,
        "num_generations": config.group_size,
        "max_completion_length": config.max_new_tokens,
        "temperature": config.temperature,
        "beta": config.beta,
        "epsilon": config.clip,
        "num_iterations": 1,
        "shuffle_dataset": False,
    }
