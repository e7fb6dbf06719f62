"""Make batches of the four self-supervised objectives from rows of text, (B, T + 1) tokens each.

causal    every next token (Radford 2019)
masked    hidden tokens from both sides: 80 % a mask, 10 % another token, 10 % themselves (Devlin 2018), or always a
          mask; 30 % hidden rather than 15, as ModernBERT (Warner 2024) after Wettig 2022, "Should you mask 15 %?"
span      T5's span corruption (Raffel 2019, 3.1.4 and `random_spans_noise_mask` of its preprocessors): spans of three
          tokens on average give way to a sentinel each, and the decoder writes sentinels and spans
mixture   each row is causal with a given probability and otherwise masked, in one decoder: GPT-BERT (Charpentier and
          Samuel 2024, "GPT or BERT: why not both?", 2410.24159). What makes one model of both is masked *next* token
          prediction: a hidden token is predicted at the place before it, so that both tasks read the same output at
          the same place, and only the attention differs (to the left, or to both sides). Chosen over moving masked
          spans to the end (Aghajanyan 2022), whose every token is causal, and over UL2, whose prefixes need more data
          than a small machine reads.

No token is hidden that begins or ends a document. Every draw comes from the generator that is given for its row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.core.run_directory import RecipeFailure
from training.recipes.pretrain import packing
from training.recipes.pretrain.tokenized_corpus import document_end

IGNORED = -100
SENTINELS = 100


@dataclass(frozen=True)
class Batch:
    """Rows for one forward pass. Segments number a row's documents from 1; 0 is padding. Labels are -100 or token ids.

    `labels` (B, T) belong to the decoder's places where there is a decoder.
    """

    input_ids: Tensor  # (B, T)
    segments: Tensor  # (B, T)
    positions: Tensor  # (B, T)
    causal: Tensor  # (B,) bool
    labels: Tensor
    decoder_ids: Tensor | None = None
    decoder_segments: Tensor | None = None

    @property
    def targets(self) -> int:
        return int((self.labels != IGNORED).sum())


Draws = Sequence[np.random.Generator]
Objective = Callable[[np.ndarray, Draws], Batch]


@dataclass(frozen=True)
class Vocabulary:
    """The ids that objectives need, from a tokenizer. `ordinary` are those that a text may hold."""

    end: int
    pad: int
    mask: int
    sentinels: tuple[int, ...]
    ordinary: np.ndarray

    @classmethod
    def of(cls, tokenizer: Any, objective: str) -> Vocabulary:
        """Return the vocabulary. Raises RecipeFailure for what the objective needs and the tokenizer lacks."""
        ids = tokenizer.get_vocab()
        end, pad = _needed(document_end(tokenizer), "an end token"), _needed(tokenizer.pad_token_id, "a pad token")
        if pad == end:
            raise _unfit("its pad token is its end token, so the model would not learn to end")
        mask = -1
        if objective in ("masked", "mixture"):
            mask = _needed(tokenizer.mask_token_id or ids.get("<|mask|>"), "a mask token (<|mask|>)")
        sentinels = tuple(ids[name] for n in range(SENTINELS) if (name := f"<extra_id_{n}>") in ids)
        if objective == "span" and not sentinels:
            raise _unfit("it has no sentinels (<extra_id_0>, <extra_id_1> …), which span corruption needs")
        special = {*tokenizer.all_special_ids, mask, *sentinels, *tokenizer.added_tokens_decoder}
        ordinary = np.array([i for i in range(len(tokenizer)) if i not in special])
        return cls(end, pad, mask, sentinels, ordinary)


def objective_named(
    name: str,
    vocabulary: Vocabulary,
    *,
    hidden_share: float = 0.3,
    mask_style: str = "80-10-10",
    mean_span: float = 3.0,
    causal_probability: float = 0.5,
) -> Objective:
    if name == "causal":
        return lambda rows, draws: causal(rows, vocabulary)
    if name == "masked":
        return lambda rows, draws: masked(rows, draws, vocabulary, hidden_share, mask_style)
    if name == "span":
        return lambda rows, draws: span(rows, draws, vocabulary, hidden_share, mean_span)
    if name == "mixture":
        return lambda rows, draws: mixture(rows, draws, vocabulary, causal_probability, hidden_share, mask_style)
    raise ValueError(f"{name!r} is no objective.")


def causal(rows: np.ndarray, vocabulary: Vocabulary) -> Batch:
    inputs, labels = rows[:, :-1], rows[:, 1:].copy()
    labels[(inputs == vocabulary.end) & (labels == vocabulary.end)] = IGNORED  # the filling of a last, short row
    return _batch(inputs, labels, vocabulary, causal=np.ones(len(rows), dtype=bool))


def masked(rows: np.ndarray, draws: Draws, vocabulary: Vocabulary, share: float, style: str) -> Batch:
    inputs, labels = _hide(rows[:, :-1], draws, vocabulary, share, style)
    return _batch(inputs, labels, vocabulary, causal=np.zeros(len(rows), dtype=bool), original=rows[:, :-1])


def mixture(
    rows: np.ndarray, draws: Draws, vocabulary: Vocabulary, probability: float, share: float, style: str
) -> Batch:
    is_causal = np.array([draw.random() < probability for draw in draws])
    plain = causal(rows, vocabulary)
    tokens = rows[:, :-1]
    hidden, hidden_labels = _hide(tokens, draws, vocabulary, share, style)
    before = np.full_like(hidden_labels, IGNORED)
    before[:, :-1] = hidden_labels[:, 1:]  # a hidden token is told by the place before it
    inputs = np.where(is_causal[:, None], tokens, hidden)
    labels = np.where(is_causal[:, None], plain.labels.numpy(), before)
    return _batch(inputs, labels, vocabulary, causal=is_causal, original=tokens)


def span(rows: np.ndarray, draws: Draws, vocabulary: Vocabulary, share: float, mean_span: float) -> Batch:
    """Corrupt each document of a row by itself: it has sentinels from 0 on, and its own end."""
    corrupted = [_spans_of_row(row, draw, vocabulary, share, mean_span) for row, draw in zip(rows, draws, strict=True)]
    inputs, segments = _stacked([[part[0] for part in parts] for parts in corrupted], vocabulary.pad)
    labels, decoder_segments = _stacked([[part[1] for part in parts] for parts in corrupted], IGNORED)
    decoder_inputs = [[np.concatenate(([vocabulary.pad], part[1][:-1])) for part in parts] for parts in corrupted]
    decoder_ids, _ = _stacked(decoder_inputs, vocabulary.pad)
    return Batch(
        torch.from_numpy(inputs),
        torch.from_numpy(segments),
        torch.from_numpy(packing.positions(segments).copy()),
        torch.zeros(len(rows), dtype=torch.bool),
        torch.from_numpy(labels),
        torch.from_numpy(decoder_ids),
        torch.from_numpy(decoder_segments),
    )


def corrupt_spans(
    tokens: np.ndarray, noise: np.ndarray, sentinels: Sequence[int], end: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what is read and what is written, each with an end token: T5's `noise_span_to_unique_sentinel` and its
    opposite.

    tokens (T,), noise (T,) bool.
    """
    return (
        np.append(_with_sentinels(tokens, noise, sentinels), end),
        np.append(_with_sentinels(tokens, ~noise, sentinels), end),
    )


def noise_spans(length: int, share: float, mean_span: float, most: int, draw: np.random.Generator) -> np.ndarray:
    """Return (length,) bool: T5's `random_spans_noise_mask`. Kept and noisy spans alternate, a kept one first.

    Their numbers are fixed by the length, their lengths drawn. `most` is the number of sentinels.
    """
    hidden = min(max(round(length * share), 1), length - 1)
    spans = min(max(round(hidden / mean_span), 1), length - hidden, most)
    kept_lengths, hidden_lengths = _partition(length - hidden, spans, draw), _partition(hidden, spans, draw)
    lengths = np.stack([kept_lengths, hidden_lengths], axis=1).reshape(-1)
    return np.repeat(np.arange(2 * spans) % 2 == 1, lengths)


def _partition(items: int, parts: int, draw: np.random.Generator) -> np.ndarray:
    """Return (parts,) of positive numbers that add up to `items`, each way to do so equally likely."""
    cuts = np.sort(draw.permutation(items - 1)[: parts - 1]) + 1
    return np.diff(np.concatenate(([0], cuts, [items])))


def _with_sentinels(tokens: np.ndarray, replaced: np.ndarray, sentinels: Sequence[int]) -> np.ndarray:
    first = replaced & ~np.concatenate(([False], replaced[:-1]))
    span_index = np.cumsum(first) - 1
    replaced_tokens = np.where(first, np.asarray(sentinels)[np.minimum(span_index, len(sentinels) - 1)], tokens)
    return replaced_tokens[first | ~replaced]


def _spans_of_row(
    row: np.ndarray, draw: np.random.Generator, vocabulary: Vocabulary, share: float, mean_span: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    spans = []
    tokens = row[:-1]
    for document in np.split(tokens, np.flatnonzero(tokens == vocabulary.end)):
        document = document[document != vocabulary.end]
        if len(document) < 2:  # one token cannot be both kept and hidden
            continue
        noise = noise_spans(len(document), share, mean_span, len(vocabulary.sentinels), draw)
        spans.append(corrupt_spans(document, noise, vocabulary.sentinels, vocabulary.end))
    return spans


def _stacked(rows: list[list[np.ndarray]], filling: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (B, longest) of the parts of each row behind one another, and whose part each place is, from 1."""
    longest = max((sum(map(len, parts)) for parts in rows), default=0) or 1
    ids = np.full((len(rows), longest), filling, dtype=np.int64)
    owners = np.zeros_like(ids)
    for row, parts in enumerate(rows):
        at = 0
        for number, part in enumerate(parts, 1):
            ids[row, at : at + len(part)], owners[row, at : at + len(part)] = part, number
            at += len(part)
    return ids, owners


def _hide(
    tokens: np.ndarray, draws: Draws, vocabulary: Vocabulary, share: float, style: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens with a share of them hidden, and labels that name those."""
    inputs, labels = tokens.copy(), np.full_like(tokens, IGNORED)
    for row, draw in enumerate(draws):
        chosen = (draw.random(tokens.shape[1]) < share) & (tokens[row] != vocabulary.end)
        if not chosen.any():
            continue
        labels[row, chosen] = tokens[row, chosen]
        draws_ = draw.random(tokens.shape[1])
        others = draw.choice(vocabulary.ordinary, tokens.shape[1])
        masks = chosen if style == "all-mask" else chosen & (draws_ < 0.8)
        inputs[row, masks] = vocabulary.mask
        if style != "all-mask":
            strange = chosen & (draws_ >= 0.8) & (draws_ < 0.9)
            inputs[row, strange] = others[strange]
    return inputs, labels


def _batch(
    inputs: np.ndarray,
    labels: np.ndarray,
    vocabulary: Vocabulary,
    *,
    causal: np.ndarray,
    original: np.ndarray | None = None,
) -> Batch:
    segments = packing.segments(inputs if original is None else original, vocabulary.end)
    return Batch(
        torch.from_numpy(np.ascontiguousarray(inputs)),
        torch.from_numpy(segments),
        torch.from_numpy(packing.positions(segments).copy()),
        torch.from_numpy(causal),
        torch.from_numpy(np.ascontiguousarray(labels)),
    )


def _needed(token: int | None, token_name: str) -> int:
    if token is None:
        raise _unfit(f"it has no {token_name.removeprefix('a ').removeprefix('an ')}")
    return token


def _unfit(problem: str) -> RecipeFailure:
    return RecipeFailure(
        "tokenizer_does_not_fit",
        f"The tokenizer does not fit this objective: {problem}.",
        "Train a tokenizer with a run of kind tokenizer: it has all tokens that the objectives need.",
    )
