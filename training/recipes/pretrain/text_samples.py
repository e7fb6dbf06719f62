"""Log what a causal model writes as it learns: the same beginnings with the same seeds, so that only the model
changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from training.core.run_directory import RunDirectory
from training.recipes.common import loading, sharding
from training.recipes.pretrain.architectures import unpacked
from training.rl.sampler import Sampling, sample, sequence_seed

BEGINNINGS = 3
BEGINNING_TOKENS = 24


def beginnings(ids: np.ndarray, end: int) -> list[list[int]]:
    """Return how the first few held-out documents begin, each after its end token."""
    starts = []
    for start in np.flatnonzero(np.asarray(ids[:200_000]) == end):
        document = [int(i) for i in ids[start : start + BEGINNING_TOKENS + 1]]
        document = document[: document.index(end, 1)] if end in document[1:] else document
        if len(document) > 8:
            starts.append(document[: max(len(document) // 2, 8) + 1] if len(document) <= BEGINNING_TOKENS else document)
        if len(starts) == BEGINNINGS:
            break
    return starts


def log_samples(
    run: RunDirectory, model: Any, tokenizer: Any, starts: list[list[int]], *, step: int, seed: int, tokens: int
) -> None:
    if not starts:
        return
    with _reading(model):
        done = sample(
            sharding.decoder_of(model),
            starts,
            [sequence_seed(seed, "text sample", i) for i in range(len(starts))],
            Sampling(max_new_tokens=tokens, temperature=0.8, top_p=0.95),
            end_ids=loading.eos_token_ids(model, tokenizer),
            pad_id=tokenizer.pad_token_id,
            device=model.device,
        )
    for start, row, length in zip(starts, done.tokens.tolist(), done.lengths.tolist(), strict=True):
        text = tokenizer.decode(row[:length], skip_special_tokens=True)
        run.log_sample(step, [{"role": "user", "content": tokenizer.decode(start, skip_special_tokens=True)}], text)


@contextmanager
def _reading(model: Any) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), unpacked(model):
            yield
    finally:
        model.train(was_training)
