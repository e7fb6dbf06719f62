"""Measure how well a tokenizer fits texts: tokens a word, bytes a token, and tokens that never occur.

*Fertility* is tokens for each word between white space (Ács 2019; Rust et al. 2021, 2012.15613). Bytes a token is what
a model's context is worth, and turns a loss in nats a token into bits a byte. Without merging, a byte is a token: 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import Tokenizer

MOST_BYTES = 4_000_000
_BATCH = 256
_SIZES = 8
_SHOWN = 12
_SPLIT_CHARACTERS = 240
Figures = dict[str, float]


@dataclass(frozen=True)
class Usage:
    unused_share: float
    unused: list[str]
    longest: list[str]


def by_source(tokenizer: Tokenizer, texts: Iterable[tuple[str, str]]) -> dict[str, Figures]:
    """Return the figures of all sources together, and of each source."""
    counts_by_source: dict[str, list[int]] = {"all sources": [0, 0, 0]}
    for source, text, tokens in _encoded(tokenizer, texts):
        numbers = (tokens, len(text.split()), len(text.encode("utf-8", "replace")))
        for name in ("all sources", source):
            counts = counts_by_source.setdefault(name, [0, 0, 0])
            for index, number in enumerate(numbers):
                counts[index] += number
    return {
        name: {
            "tokens": tokens,
            "words": words,
            "bytes": size,
            "tokens_per_word": tokens / max(words, 1),
            "bytes_per_token": size / max(tokens, 1),
        }
        for name, (tokens, words, size) in counts_by_source.items()
    }


def by_vocabulary(
    tokenizer: Tokenizer, texts: Iterable[tuple[str, str]], *, first: int
) -> Iterator[tuple[int, Figures]]:
    """Yield (size, figures) of the vocabularies that this one contains: its first merges, from the bytes alone to
    all."""
    text_list = list(texts)
    total = tokenizer.get_vocab_size()
    sizes = sorted({round(size) for size in np.geomspace(first, total, _SIZES)})
    for size in sizes:
        figures = by_source(_smaller(tokenizer, size - first, first), text_list)["all sources"]
        yield size, {name: figures[name] for name in ("bytes_per_token", "tokens_per_word")}


def _smaller(tokenizer: Tokenizer, merges: int, first: int) -> Tokenizer:
    described = json.loads(tokenizer.to_str())
    model = described["model"]
    model["merges"] = model["merges"][:merges]
    model["vocab"] = {token: number for token, number in model["vocab"].items() if number < first + merges}
    return Tokenizer.from_str(json.dumps(described))


def usage(tokenizer: Tokenizer, texts: Iterable[str], *, first: int) -> Usage:
    """Return, of the merged tokens from id `first` on, which the texts never use, and which are the longest."""
    counts = np.zeros(tokenizer.get_vocab_size(), dtype=np.int64)
    for batch in _batches(texts):
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            np.add.at(counts, np.asarray(encoding.ids, dtype=np.int64), 1)
    merged = range(first, len(counts))
    unused = [number for number in merged if counts[number] == 0]
    longest = sorted(merged, key=lambda number: (-len(tokenizer.id_to_token(number) or ""), number))[:_SHOWN]
    return Usage(
        len(unused) / max(len(merged), 1),
        [_visible(tokenizer.decode([number])) for number in unused[:_SHOWN]],
        [_visible(tokenizer.decode([number])) for number in longest],
    )


def _visible(text: str) -> str:
    return text.replace(" ", "·").replace("\n", "↵").replace("\t", "⇥")


def split_samples(tokenizer: Tokenizer, texts: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return the beginning of one text of each source, for a few sources, token by token."""
    first: dict[str, str] = {}
    for source, text in texts:
        first.setdefault(source, text)
    samples = []
    for source, text in list(first.items())[:3]:
        part = text[:_SPLIT_CHARACTERS]
        offsets = tokenizer.encode(part, add_special_tokens=False).offsets
        samples.append({"source": source, "tokens": [part[begin:end] for begin, end in offsets]})
    return samples


def _encoded(tokenizer: Tokenizer, texts: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str, int]]:
    text_list = list(texts)
    for start in range(0, len(text_list), _BATCH):
        batch = text_list[start : start + _BATCH]
        encoded = tokenizer.encode_batch_fast([text for _, text in batch], add_special_tokens=False)
        for (source, text), encoding in zip(batch, encoded, strict=True):
            yield source, text, len(encoding.ids)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
