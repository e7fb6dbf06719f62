"""Sample completions in batches from a causal LM: temperature, top-p, one seed per sequence.

Each sequence draws its uniforms from its own generator, so that its completion depends on its seed and
not on its neighbours (up to the rounding that another padding brings). Rows that have ended leave the batch. Equal
prompts are prefilled once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from common.seeds import sequence_seed as sequence_seed
from training.rl.decode import Decoder

BLOCK = 256  # tokens whose weights are summed first when one is drawn
COMPACT_BELOW = 0.85  # copying the cache pays once this share of its rows, or less, is alive


@dataclass(frozen=True)
class Sampling:
    max_new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0 keeps every token


@dataclass(frozen=True)
class Completions:
    """Hold sampled tokens (B, N) right-padded; lengths (B,), counting the end token; finished (B,): ended by an end
    token.

    logprobs (B, N) float32: of each drawn token under the distribution that it was drawn from, 0 on padding.
    """

    tokens: Tensor
    lengths: Tensor
    finished: Tensor
    logprobs: Tensor | None = None


def left_pad(
    prompts: Sequence[Sequence[int]], pad_id: int, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Return token ids and attention mask, both (B, P), the prompts flush right."""
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
    logprobs = torch.zeros((B, N), device=device)
    lengths = torch.full((B,), N, dtype=torch.long, device=device)
    finished = torch.zeros(B, dtype=torch.bool, device=device)
    ends = torch.tensor(sorted(set(end_ids)), dtype=torch.long, device=device)
    uniforms = torch.stack([torch.rand(N, generator=torch.Generator().manual_seed(s)) for s in seeds]).to(device)
    logits = _prefill_each_once(decoder, prompts, N, pad_id, device)
    rows = torch.arange(B, device=device)  # which sequence each row of the decoder's batch is
    for t in range(N):
        tokens_drawn, of_drawn = draw_with_logprobs(
            logits, uniforms[rows, t], sampling.temperature, sampling.top_p, sampling.top_k
        )
        alive = ~finished[rows]
        tokens[rows[alive], t] = tokens_drawn[alive]
        logprobs[rows[alive], t] = of_drawn[alive]
        has_ended = alive & torch.isin(tokens_drawn, ends)
        finished[rows[has_ended]] = True
        lengths[rows[has_ended]] = t + 1
        alive &= ~has_ended
        if t + 1 == N or not alive.any():
            break
        if alive.float().mean() <= COMPACT_BELOW:
            keep = alive.nonzero()[:, 0]
            decoder.select(keep)
            rows, tokens_drawn = rows[keep], tokens_drawn[keep]
        logits = decoder.step(tokens_drawn)
        if on_step is not None:
            on_step(t + 1)
    return Completions(tokens, lengths, finished, logprobs)


def _prefill_each_once(
    decoder: Decoder, prompts: Sequence[Sequence[int]], max_new_tokens: int, pad_id: int, device: torch.device | str
) -> Tensor:
    index_of: dict[tuple[int, ...], int] = {}
    prompt_index = [index_of.setdefault(tuple(prompt), len(index_of)) for prompt in prompts]
    ids, mask = left_pad(list(index_of), pad_id, device)
    logits = decoder.prefill(ids, mask, max_new_tokens)
    if len(index_of) == len(prompts):
        return logits
    index = torch.tensor(prompt_index, device=device)
    decoder.select(index)
    return logits[index]


def draw(logits: Tensor, uniforms: Tensor, temperature: float, top_p: float = 1.0, top_k: int = 0) -> Tensor:
    """Return one token per row, (B,); see `draw_with_logprobs`."""
    return draw_with_logprobs(logits, uniforms, temperature, top_p, top_k)[0]


def draw_with_logprobs(
    logits: Tensor, uniforms: Tensor, temperature: float, top_p: float = 1.0, top_k: int = 0
) -> tuple[Tensor, Tensor]:
    """Return one token per row by inverting the cumulative distribution at `uniforms`, and its logprob there.

    logits (B, V), uniforms (B,) in [0, 1) -> (B,), (B,). One number a row is drawn, where Gumbel noise takes V.
    """
    if temperature == 0:
        return logits.argmax(-1), torch.zeros(len(logits), device=logits.device)
    scaled = logits.to(torch.float32, copy=True)
    if temperature != 1:
        scaled.div_(temperature)
    if 0 < top_k < scaled.shape[-1]:
        least = scaled.topk(top_k, dim=-1).values[:, -1:]
        scaled.masked_fill_(scaled < least, float("-inf"))
    # In place, and never divided by their sum: a fresh array of the vocabulary costs as much as the arithmetic on it.
    weights = scaled.sub_(scaled.amax(-1, keepdim=True)).exp_()
    if top_p < 1:
        weights = keep_nucleus(weights / weights.sum(-1, keepdim=True), top_p)
    return _place_of(weights, uniforms)


def _place_of(weights: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Return (B,) the first place at which the weights (B, V) have passed that share (B,) of their sum, and the
    logarithm of the share that this place has by itself.

    First the block of tokens, then the token in it: a running sum over the whole vocabulary is one long chain.
    """
    B, V = weights.shape
    blocks = F.pad(weights, (0, -V % BLOCK)).view(B, -1, BLOCK) if V % BLOCK else weights.view(B, -1, BLOCK)
    sums = blocks.sum(-1).cumsum(-1)
    share = _below(uniforms[:, None] * sums[:, -1:], sums[:, -1:])
    # `right` steps over what has weight 0, whose running sum equals its forerunner's.
    # Where the model gives no numbers at all it finds no place; whoever trains it will say so.
    block = torch.searchsorted(sums, share, right=True).clamp(max=sums.shape[1] - 1)
    before = torch.where(block > 0, sums.gather(1, (block - 1).clamp(min=0)), torch.zeros_like(share))
    inside = blocks[torch.arange(B, device=weights.device), block[:, 0]].cumsum(-1)
    index = torch.searchsorted(inside, _below(share - before, inside[:, -1:]), right=True)
    token_index = (block * BLOCK + index).clamp(max=V - 1)
    return token_index[:, 0], (weights.gather(1, token_index) / sums[:, -1:]).log()[:, 0]


def _below(values: Tensor, bound: Tensor) -> Tensor:
    """Return the values below the bound: rounding must not lead past the last token that has any weight."""
    return torch.minimum(values, torch.nextafter(bound, torch.zeros_like(bound)))


def keep_nucleus(probs: Tensor, top_p: float, first_look: int = 512) -> Tensor:
    """Zero all but the smallest set of tokens that holds `top_p` of the mass. (B, V) -> (B, V), not renormalised.

    Sorting a vocabulary costs more than a layer; the first few hundred tokens nearly always hold the nucleus.
    """
    look = min(first_look, probs.shape[-1])
    top, indices = probs.topk(look, dim=-1)
    if look < probs.shape[-1] and bool((top.sum(-1) < top_p).any()):
        top, indices = probs.sort(dim=-1, descending=True)
    before = top.cumsum(-1) - top
    kept_mass = torch.where(before < top_p, top, torch.zeros_like(top))
    return torch.zeros_like(probs).scatter_(-1, indices, kept_mass)
