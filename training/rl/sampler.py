"""Sample completions in batches from a causal LM: temperature, top-p, one seed per sequence.

Each sequence draws its uniforms from its own generator, so that its completion depends on its seed and not on its
neighbours (up to the rounding that another padding brings). A row that has ended gives its place to the next prompt, or
leaves the batch when there is none. Equal prompts that start together are read once, and so is what all begin with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from common.seeds import sequence_seed as sequence_seed
from training.rl.decode import LlamaDecoder
from training.rl.kept_states import KeptStates
from training.rl.module_decoder import Decoder

BLOCK = 256  # tokens whose weights are summed first when one is drawn
COMPACT_BELOW = 0.85  # copying the cache pays once this share of its rows, or less, is alive
REFILL_FROM = 1 / 8  # of the rows have ended: reading a few prompts costs a product as reading many does
FIRST_LOOK = 64  # tokens among which the nucleus of top-p is looked for
LOOK_FURTHER = 8  # times as many where it is wider
SHARED_FROM = 4  # tokens that all prompts begin with: fewer are not worth reading by themselves


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
    most_rows: int | None = None,
    on_end: Callable[[int], None] | None = None,
    kept: KeptStates | None = None,
) -> Completions:
    """Sample one completion for each prompt (token ids), with the seed at the same place.

    `most_rows` of them are decoded at once, all where none is given. `on_end` is told how many have ended, now and
    then. `kept` gets the hidden states that it asks for, from a `LlamaDecoder`.
    """
    B, N = len(prompts), sampling.max_new_tokens
    R = min(most_rows or B, B)
    if R < B and not isinstance(decoder, LlamaDecoder):
        return _in_turn(decoder, prompts, seeds, sampling, R, on_end, end_ids=end_ids, pad_id=pad_id, device=device)
    tokens = torch.full((B, N), pad_id, dtype=torch.long, device=device)
    logprobs = torch.zeros((B, N), device=device)
    lengths = torch.full((B,), N, dtype=torch.long, device=device)
    finished = torch.zeros(B, dtype=torch.bool, device=device)
    ends = torch.tensor(sorted(set(end_ids)), dtype=torch.long, device=device)
    uniforms = torch.stack([torch.rand(N, generator=torch.Generator().manual_seed(s)) for s in seeds]).to(device)
    logits = _begin(decoder, prompts, R, N, pad_id, device, kept)
    rows = torch.arange(R, device=device)  # which sequence each row of the decoder's batch is
    drawn = torch.zeros(R, dtype=torch.long, device=device)  # tokens of it so far
    alive = torch.ones(R, dtype=torch.bool, device=device)
    started = R
    while True:
        new, of_new = draw_with_logprobs(
            logits, uniforms[rows, drawn], sampling.temperature, sampling.top_p, sampling.top_k
        )
        # By `where` and not by masks as indices, whose size the host of a GPU would wait for.
        tokens[rows, drawn] = torch.where(alive, new, tokens[rows, drawn])
        logprobs[rows, drawn] = torch.where(alive, of_new, logprobs[rows, drawn])
        has_ended = alive & torch.isin(new, ends)
        finished[rows] |= has_ended
        lengths[rows] = torch.where(has_ended, drawn + 1, lengths[rows])
        # What ended at the limit ends with a word, whose state is kept like the others': it is read once more.
        unread = alive & ~has_ended & (drawn + 1 == N) if kept is not None else torch.zeros_like(alive)
        alive = alive & ~has_ended & (drawn + 1 < N)
        drawn = (drawn + 1).clamp(max=N - 1)  # of rows that have ended it points nowhere
        left = int(alive.sum())
        if on_end is not None:
            on_end(started - left)
        if not left and kept is not None and isinstance(decoder, LlamaDecoder) and bool(unread.any()):
            decoder.read_last(new)
        if not left and started == B:
            break
        if started == B and left <= COMPACT_BELOW * len(rows):
            keep = (alive | unread).nonzero()[:, 0]
            decoder.select(keep)
            rows, drawn, alive, new = rows[keep], drawn[keep], alive[keep], new[keep]
        if left:
            logits = decoder.step(new)
        if started < B and len(rows) - left >= max(1, REFILL_FROM * R):
            assert isinstance(decoder, LlamaDecoder)
            free = (~alive).nonzero()[: B - started, 0]
            different, which = _different(prompts[started : started + len(free)])
            rows[free] = torch.arange(started, started + len(free), device=device)
            logits[free] = decoder.admit(free, different, torch.tensor(which, device=device), rows[free])
            drawn[free], alive[free], started = 0, True, started + len(free)
    if isinstance(decoder, LlamaDecoder):
        decoder.close()
    return Completions(tokens, lengths, finished, logprobs)


def _begin(
    decoder: Decoder, prompts: Sequence[Sequence[int]], count: int, max_new_tokens: int, pad_id: int,
    device: torch.device | str, kept: KeptStates | None,
) -> Tensor:  # fmt: skip
    """Read the first prompts, each different one once. Return the logits of their rows."""
    different, which = _different(prompts[:count])
    index = torch.tensor(which, device=device)
    if isinstance(decoder, LlamaDecoder):
        decoder.open(count, max(map(len, prompts)) + max_new_tokens, _common_beginning(prompts), kept)
        rows = torch.arange(count, device=device)
        return decoder.admit(rows, different, index, rows)
    ids, mask = left_pad(different, pad_id, device)
    logits = decoder.prefill(ids, mask, max_new_tokens)
    if len(different) == count:
        return logits
    decoder.select(index)
    return logits[index]


def _in_turn(
    decoder: Decoder, prompts: Sequence[Sequence[int]], seeds: Sequence[int], sampling: Sampling, size: int,
    on_end: Callable[[int], None] | None, **options: Any,
) -> Completions:  # fmt: skip
    """Sample batch after batch, by a decoder whose rows cannot be given to others."""
    parts = []
    for start in range(0, len(prompts), size):
        part = slice(start, start + size)
        parts.append(sample(decoder, prompts[part], seeds[part], sampling, **options))
        if on_end is not None:
            on_end(start + len(parts[-1].lengths))
    joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0])}
    return Completions(**joined)


def _different(prompts: Sequence[Sequence[int]]) -> tuple[list[Sequence[int]], list[int]]:
    """Return the different ones of some prompts, and which of them each is."""
    index_of: dict[tuple[int, ...], int] = {}
    which = [index_of.setdefault(tuple(prompt), len(index_of)) for prompt in prompts]
    return list(index_of), which


def _common_beginning(prompts: Sequence[Sequence[int]]) -> Sequence[int]:
    """Return what all prompts begin with, without any one's last token; nothing where it is short, or all are one."""
    first, last = min(prompts, key=tuple), max(prompts, key=tuple)
    most = min(map(len, prompts)) - 1
    count = next((i for i in range(most) if first[i] != last[i]), most)
    return first[:count] if count >= SHARED_FROM and tuple(first) != tuple(last) else ()


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
        return _place_in_nucleus(weights, uniforms, top_p)
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


def _place_in_nucleus(weights: Tensor, uniforms: Tensor, top_p: float, look: int = FIRST_LOOK) -> tuple[Tensor, Tensor]:
    """Return what `_place_of` does, among the fewest tokens of each row that hold `top_p` of its sum.

    Sorting a vocabulary costs as much as a decoding step. The likeliest few tokens mostly hold the nucleus; rows where
    they do not are looked at again by themselves, among more.
    """
    look = min(look, weights.shape[1])
    top, tokens = weights.topk(look, dim=-1)
    mass, sums = top_p * weights.sum(-1, keepdim=True), top.cumsum(-1)
    kept = torch.where(sums - top < mass, top, torch.zeros_like(top))
    tokens, order = tokens.sort(dim=-1)  # as in the vocabulary, so that no token's place depends on the look
    index, logprobs = _place_of(kept.gather(1, order), uniforms)
    drawn = tokens.gather(1, index[:, None])[:, 0]
    if look < weights.shape[1] and bool((is_wider := sums[:, -1] < mass[:, 0]).any()):
        rows = is_wider.nonzero()[:, 0]
        drawn[rows], logprobs[rows] = _place_in_nucleus(weights[rows], uniforms[rows], top_p, LOOK_FURTHER * look)
    return drawn, logprobs
