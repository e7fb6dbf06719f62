"""Sample completions in bulk: `python -m training.recipes.sample RUN_DIR`.

Samples `completions_per_prompt` completions of each row of data/prompts.jsonl from the parent and appends them to
completions.jsonl. The work is cut into the same batches whenever it runs, and each completion has a seed made of the
run's seed, its prompt's id and its index: killed and resumed, it writes what it would have written, and
samples nothing again but the batch that was under way.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from common import reasoning
from common.sampling import kept_sampling, with_system_prompt
from training.configs import SampleConfig
from training.core.run_directory import RunDirectory, RunSpec, read_lines
from training.recipes.common import loading
from training.recipes.common.entry import config_of, prompts_of, run_recipe
from training.rl.decode import decoder_for
from training.rl.sampler import Sampling, sample, sequence_seed


@dataclass(frozen=True)
class Task:
    """One completion to sample: the `index`-th of the prompt `prompt_id`, whose tokens are `prompt`."""

    prompt_id: int
    index: int
    prompt: tuple[int, ...]
    seed: int


def main(run: RunDirectory, spec: RunSpec) -> None:
    config: SampleConfig = config_of(spec)
    run.progress("loading the model", 0, 1)
    model, tokenizer = loading.load_policy(spec.parent)
    window = getattr(model.config, "max_position_embeddings", 1 << 30)
    config = _within(config, window)
    tasks = _tasks(run, spec, config, window - config.max_new_tokens, tokenizer)
    done = {(row["prompt_id"], row["index"]) for row in read_lines(run.path / "completions.jsonl")}
    decoder, end_ids = decoder_for(model), loading.eos_token_ids(model, tokenizer)
    sampling = Sampling(config.max_new_tokens, config.temperature, config.top_p)
    started, finished = time.perf_counter(), len(done)
    run.progress("sampling", finished, len(tasks))
    for batch in _batches(tasks, config.batch_size):
        if all((task.prompt_id, task.index) in done for task in batch):
            continue
        completions = sample(
            decoder, [task.prompt for task in batch], [task.seed for task in batch], sampling,
            end_ids=end_ids, pad_id=tokenizer.pad_token_id, device=loading.device(),
        )  # fmt: skip
        for task, tokens, length, has_ended in zip(
            batch, completions.tokens.tolist(), completions.lengths.tolist(), completions.finished.tolist(), strict=True
        ):
            if (task.prompt_id, task.index) not in done:
                apart = reasoning.split(tokenizer.decode(tokens[:length], skip_special_tokens=True))
                run.log_completions(_row(task, apart, length, has_ended, config))
                finished += 1
        run.progress("sampling", finished, len(tasks))
    run.finish(_result(run, len(done), time.perf_counter() - started))


def _within(config: SampleConfig, window: int) -> SampleConfig:
    """Leave a model whose window has no room for a prompt and `max_new_tokens` half of it for its answers.

    The default is made for models that people read; one of 256 tokens answers in 128, and each answer keeps how it was
    drawn.
    """
    return config if config.max_new_tokens < window else replace(config, max_new_tokens=max(1, window // 2))


def _tasks(run: RunDirectory, spec: RunSpec, config: SampleConfig, room: int, tokenizer: Any) -> list[Task]:
    """Return all the completions of the run, the shortest prompts first, those of one prompt side by side. room: in
    tokens."""
    prompts = prompts_of(run, "Add prompts to the project, then start the run again.")
    conversations = {row["id"]: with_system_prompt(row["messages"], config.system_prompt) for row in prompts}
    encoded = {
        row_id: tuple(loading.encode_prompt(tokenizer, messages, room)) for row_id, messages in conversations.items()
    }
    ordered = sorted(encoded, key=lambda prompt_id: (len(encoded[prompt_id]), prompt_id))
    return [
        Task(prompt_id, index, encoded[prompt_id], sequence_seed(spec.seed, prompt_id, index))
        for prompt_id in ordered
        for index in range(config.completions_per_prompt)
    ]


def _batches(tasks: list[Task], size: int) -> Iterator[list[Task]]:
    for start in range(0, len(tasks), size):
        yield tasks[start : start + size]


def _row(task: Task, apart: reasoning.Apart, length: int, has_ended: bool, config: SampleConfig) -> dict[str, Any]:
    return {
        "prompt_id": task.prompt_id,
        "index": task.index,
        "text": apart.answer,
        "reasoning": apart.reasoning,
        "tokens": length,
        "finish_reason": "stop" if has_ended else "length",
        "seed": task.seed,
        "sampling": kept_sampling(
            {"max_new_tokens": config.max_new_tokens, "temperature": config.temperature, "top_p": config.top_p},
            config.system_prompt,
        ),
    }


def _result(run: RunDirectory, before: int, seconds: float) -> dict[str, Any]:
    rows = list(read_lines(run.path / "completions.jsonl"))
    new = rows[before:]
    return {
        "completions": len(rows),
        "tokens_mean": sum(row["tokens"] for row in rows) / len(rows),
        "stopped_share": sum(row["finish_reason"] == "stop" for row in rows) / len(rows),
        "distinct": len({row["text"] for row in rows}) / len(rows),
        "completions_per_second": len(new) / seconds if new else None,
        "seconds": seconds,
        "how_to_read": "tokens_mean counts the end token; stopped_share is the share of complete completions "
        "(not cut by max_new_tokens); distinct is the share of different texts; only_reasoning are those that were cut "
        "while the model was still reasoning: raise max_new_tokens.",
    }


if __name__ == "__main__":
    run_recipe(main)
