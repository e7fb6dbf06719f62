"""Sampling completions in batches from a causal LM: temperature, top-p, one seed per sequence.

Each sequence draws its uniforms from its own generator, so that its completion depends on its seed and
not on its neighbours (up to the rounding that another padding brings). Rows that have ended leave the batch. Equal
prompts are prefilled once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.rl.decode import Decoder

COMPACT_BELOW = 0.85  # copying the cache pays once this share of its rows, or less, is alive


@dataclass(frozen=True)
class Sampling:
    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0 keeps every token


@dataclass(frozen=True)
class Completions:
    """tokens (B, N) right-padded; lengths (B,), counting the end token; finished (B,): ended by an end token."""

    tokens: Tensor
    lengths: Tensor
    finished: Tensor


def sequence_seed(run_seed: int, *parts: int | str) -> int:
    """A seed of 63 bits that depends on the run's seed and on what names the sequence."""
    digest = hashlib.blake2b(repr((run_seed, *parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def left_pad(
    prompts: Sequence[Sequence[int]], pad_id: int, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, both (B, P), the prompts flush right."""
    longest = max(map(len, prompts))
    ids = torch.full((len(prompts), longest), pad_id, dtype=torch.long)
    mask = torch.zeros((len(prompts), longest), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    return ids.to(device), mask.to(device)


@torch.no_grad()
def sample(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    sampling: Sampling,
    *,
    end_ids: Sequence[int],
    pad_id: int,
    device: torch.device | str = "cpu",
    on_step: Callable[[int], None] | None = None,
) -> Completions:
    """Sample one completion for each prompt (token ids), with the seed at the same place."""
    B, N = len(prompts), sampling.max_new_tokens
    tokens = torch.full((B, N), pad_id, dtype=torch.long, device=device)
    lengths = torch.full((B,), N, dtype=torch.long, device=device)
    finished = torch.zeros(B, dtype=torch.bool, device=device)
    ends = torch.tensor(sorted(set(end_ids)), dtype=torch.long, device=device)
    uniforms = torch.stack([torch.rand(N, generator=torch.Generator().manual_seed(s)) for s in seeds]).to(device)
    logits = _prefill_each_once(decoder, prompts, N, pad_id, device)
    rows = torch.arange(B, device=device)  # which sequence each row of the decoder's batch is
    for t in range(N):
        drawn = draw(logits, uniforms[rows, t], sampling.temperature, sampling.top_p, sampling.top_k)
        alive = ~finished[rows]
        tokens[rows[alive], t] = drawn[alive]
        ended = alive & torch.isin(drawn, ends)
        finished[rows[ended]] = True
        lengths[rows[ended]] = t + 1
        alive &= ~ended
        if t + 1 == N or not alive.any():
            break
        if alive.float().mean() <= COMPACT_BELOW:
            keep = alive.nonzero()[:, 0]
            decoder.select(keep)
            rows, drawn = rows[keep], drawn[keep]
        logits = decoder.step(drawn)
        if on_step is not None:
            on_step(t + 1)
    return Completions(tokens, lengths, finished)


def _prefill_each_once(
    decoder: Decoder, prompts: Sequence[Sequence[int]], max_new_tokens: int, pad_id: int, device: torch.device | str
) -> Tensor:
    places: dict[tuple[int, ...], int] = {}
    which = [places.setdefault(tuple(prompt), len(places)) for prompt in prompts]
    ids, mask = left_pad(list(places), pad_id, device)
    logits = decoder.prefill(ids, mask, max_new_tokens)
    if len(places) == len(prompts):
        return logits
    index = torch.tensor(which, device=device)
    decoder.select(index)
    return logits[index]


def draw(logits: Tensor, uniforms: Tensor, temperature: float, top_p: float = 1.0, top_k: int = 0) -> Tensor:
    """One token per row by inverting the cumulative distribution at `uniforms`.

    logits (B, V), uniforms (B,) in [0, 1) -> (B,). One number a row is drawn, where Gumbel noise takes V.
    """
    if temperature == 0:
        return logits.argmax(-1)
    scaled = logits.float()
    if temperature != 1:
        scaled = scaled / temperature
    if 0 < top_k < scaled.shape[-1]:
        least = scaled.topk(top_k, dim=-1).values[:, -1:]
        scaled = scaled.masked_fill(scaled < least, float("-inf"))
    probs = scaled.softmax(-1)
    if top_p < 1:
        probs = keep_nucleus(probs, top_p)
    cumulative = probs.cumsum(-1)
    # `right` steps over tokens of probability 0, whose cumulative value equals their forerunner's.
    drawn = torch.searchsorted(cumulative, uniforms[:, None] * cumulative[:, -1:], right=True)[:, 0]
    return drawn.clamp(max=logits.shape[-1] - 1)


def keep_nucleus(probs: Tensor, top_p: float, first_look: int = 512) -> Tensor:
    """Zero all but the smallest set of tokens that holds `top_p` of the mass. (B, V) -> (B, V), not renormalised.

    Sorting a vocabulary costs more than a layer; the first few hundred tokens nearly always hold the nucleus.
    """
    look = min(first_look, probs.shape[-1])
    top, indices = probs.topk(look, dim=-1)
    if look < probs.shape[-1] and bool((top.sum(-1) < top_p).any()):
        top, indices = probs.sort(dim=-1, descending=True)
    before = top.cumsum(-1) - top
    kept = torch.where(before < top_p, top, torch.zeros_like(top))
    return torch.zeros_like(probs).scatter_(-1, indices, kept)
