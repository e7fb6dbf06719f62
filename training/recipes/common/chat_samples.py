"""Log answers to the same few prompts with the same seeds while a model learns, so that changes show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from training.core.run_directory import RunDirectory
from training.recipes.common import loading, sharding
from training.rl.sampler import Sampling, sample, sequence_seed

Score = Callable[[list[Any], list[str]], Sequence[tuple[float | None, dict[str, float]]]]


def log_answers(
    run: RunDirectory, model: Any, tokenizer: Any, prompts: list[Any], *, step: int, seeds: tuple[int, str],
    sampling: Sampling, max_prompt_tokens: int, score: Score | None = None,
) -> None:  # fmt: skip
    """Log one answer to each prompt. `seeds`: the run's seed and a name; the training's generators are not touched.

    `score` gives the score of each and what its parts say.
    """
    room, most = loading.shared_context(model, max_prompt_tokens, sampling.max_new_tokens)
    was_training = model.training
    model.eval()
    done = sample(
        sharding.decoder_of(model),
        [loading.encode_prompt(tokenizer, messages, room) for messages in prompts],
        [sequence_seed(*seeds, i) for i in range(len(prompts))],
        replace(sampling, max_new_tokens=most),
        end_ids=loading.eos_token_ids(model, tokenizer),
        pad_id=tokenizer.pad_token_id,
        device=model.device,
    )
    model.train(was_training)
    rows = zip(done.tokens.tolist(), done.lengths.tolist(), strict=True)
    texts = [tokenizer.decode(tokens[:length], skip_special_tokens=True) for tokens, length in rows]
    scores = score(prompts, texts) if score else [(None, {})] * len(texts)
    for messages, text, (value, parts) in zip(prompts, texts, scores, strict=True):
        run.log_sample(step, messages, text, value, parts)
