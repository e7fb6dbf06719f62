"""Draw several completions of each prompt of a run, the same whenever and however often it is started.

The work is cut into the same portions whenever it runs, and each completion has a seed made of the run's seed, its
prompt's id and its index: killed and resumed, it writes what it would have written, and samples nothing again but the
portion that was under way. Within a portion, a few times what is decoded at once, a row that has ended gives its place
to the next task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from common import reasoning
from common.sampling import kept_sampling, with_system_prompt
from training.core.batch_planner import BULK_CACHE
from training.core.run_directory import Row, RunDirectory, RunSpec
from training.recipes.common import loading, memory
from training.rl.decode import LlamaDecoder, decoder_for
from training.rl.sampler import Sampling, sample, sequence_seed

OTHERS = 32  # rows at most of a model that keeps its caches itself: nobody counts them here
PORTION = 2  # times batch_size: the rows of a portion's end stand idle, and a kill costs as much as it holds


class DrawConfig(Protocol):
    """Say how completions are drawn: the options that `sample` and best-of-N share."""

    @property
    def max_new_tokens(self) -> int: ...
    @property
    def temperature(self) -> float: ...
    @property
    def top_p(self) -> float: ...
    @property
    def system_prompt(self) -> str: ...
    @property
    def batch_size(self) -> int: ...


@dataclass(frozen=True)
class Task:
    """One completion to sample: the `index`-th of the prompt `prompt_id`, whose tokens are `prompt`."""

    prompt_id: int
    index: int
    prompt: tuple[int, ...]
    seed: int


def draw(
    run: RunDirectory,
    spec: RunSpec,
    config: Any,
    prompts: Sequence[Row],
    *,
    count: int,
    done: Sequence[Row],
    write: Callable[[Row], None],
) -> int:
    """Draw `count` completions of each prompt and write a row for each that is not `done`; return how many were new."""
    run.progress("loading the model", 0, 1)
    model, tokenizer = loading.load_policy(spec.parent)
    window = getattr(model.config, "max_position_embeddings", 1 << 30)
    config = _within(config, window)
    # What is chosen from is no answer that stands beside it, where the same model answers by the same seed.
    kind = () if spec.kind == "sample" else (spec.kind,)
    seed_of = partial(sequence_seed, spec.seed, *kind)
    tasks = _tasks(prompts, seed_of, config, window - config.max_new_tokens, tokenizer, count)
    written = {(row["prompt_id"], row["index"]) for row in done}
    decoder, end_ids = decoder_for(model.requires_grad_(False)), loading.eos_token_ids(model, tokenizer)
    sampling = Sampling(config.max_new_tokens, config.temperature, config.top_p)
    before = finished = len(written)
    run.progress("sampling", finished, len(tasks))
    for batch in _batches(tasks, PORTION * config.batch_size):
        earlier = sum((task.prompt_id, task.index) in written for task in batch)
        if earlier == len(batch):
            continue
        chosen = [task.prompt for task in batch]
        rows = OTHERS
        if isinstance(decoder, LlamaDecoder):
            rows = memory.rows_at_once(model, loading.device(), chosen, sampling.max_new_tokens, BULK_CACHE)
        completions = sample(
            decoder, chosen, [task.seed for task in batch], sampling,
            end_ids=end_ids, pad_id=tokenizer.pad_token_id, device=loading.device(),
            most_rows=min(config.batch_size, rows),
            on_end=_progress_of(run, finished, earlier, len(tasks)),
        )  # fmt: skip
        for task, tokens, length, has_ended in zip(
            batch, completions.tokens.tolist(), completions.lengths.tolist(), completions.finished.tolist(), strict=True
        ):
            if (task.prompt_id, task.index) not in written:
                apart = reasoning.split(tokenizer.decode(tokens[:length], skip_special_tokens=True))
                write(_row(task, apart, length, has_ended, config))
                finished += 1
        run.progress("sampling", finished, len(tasks))
    return finished - before


def _progress_of(run: RunDirectory, finished: int, earlier: int, total: int) -> Callable[[int], None]:
    """Return what says how far the run is when so many of a portion have ended; `earlier` of them an attempt before
    had written."""
    most = 0

    def say(ended: int) -> None:
        nonlocal most
        if ended > most:
            most = ended
            run.progress("sampling", finished + max(0, ended - earlier), total)

    return say


def _within(config: Any, window: int) -> Any:
    """Leave a model whose window has no room for a prompt and `max_new_tokens` half of it for its answers.

    The default is made for models that people read; one of 256 tokens answers in 128, and each answer keeps how it was
    drawn.
    """
    return config if config.max_new_tokens < window else replace(config, max_new_tokens=max(1, window // 2))


def _tasks(
    prompts: Sequence[Row], seed_of: Callable[..., int], config: DrawConfig, room: int, tokenizer: Any, count: int
) -> list[Task]:
    """Return all the completions of the run, the shortest prompts first, those of one prompt side by side. room: in
    tokens; seed_of: from prompt and index."""
    conversations = {row["id"]: with_system_prompt(row["messages"], config.system_prompt) for row in prompts}
    encoded = {
        row_id: tuple(loading.encode_prompt(tokenizer, messages, room)) for row_id, messages in conversations.items()
    }
    ordered = sorted(encoded, key=lambda prompt_id: (len(encoded[prompt_id]), prompt_id))
    return [
        Task(prompt_id, index, encoded[prompt_id], seed_of(prompt_id, index))
        for prompt_id in ordered
        for index in range(count)
    ]


def _batches(tasks: list[Task], size: int) -> Iterator[list[Task]]:
    for start in range(0, len(tasks), size):
        yield tasks[start : start + size]


def _row(task: Task, apart: reasoning.Apart, length: int, has_ended: bool, config: DrawConfig) -> Row:
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
