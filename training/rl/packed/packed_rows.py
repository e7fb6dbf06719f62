"""Lay sequences end to end, what several begin with once, and group them for attention.

Prompts of a chat template begin alike, the answers of a pair or a ranking have one prompt: the state of a token depends
on what stands before it alone, so that it is computed once for all that begin so. Gradients flow to it from all.

Shapes: N tokens that are computed, P places of tokens and padding in the groups, K key heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

QUERIES = 256  # attended at once: keys behind the last of them are not looked at
STEP = 8  # widths of sequences of up to QUERIES tokens are multiples of it


@dataclass(frozen=True)
class Group:
    """Hold `count` sequences of one `width`, which stand from `first` among the P places. The queries of the first
    `skip` tokens of each stand in other sequences."""

    first: int
    count: int
    width: int
    skip: int

    def of(self, stacked: Tensor, K: int) -> Tensor:
        """Return the group's part of (P K, n D) as (count K, width, n D)."""
        part = stacked[self.first * K : (self.first + self.count * self.width) * K]
        return part.view(self.count * K, self.width, -1)

    def is_long(self) -> bool:
        """Return whether there are several blocks of queries, most of them read here."""
        return self.width > QUERIES and 2 * self.skip < self.width

    def blocks(self) -> list[tuple[int, int]]:
        """Return (first query, end) of each block of queries: its keys lie before the end."""
        starts = range(0, self.width, QUERIES)
        blocks = [(max(start, self.skip), min(start + QUERIES, self.width)) for start in starts]
        return [(at, end) for at, end in blocks if at < end]


@dataclass(frozen=True)
class Rows:
    """Say where the sequences lie in N tokens, how they are grouped, and the rotations at their places."""

    cos: Tensor  # (N, 1, D)
    sin: Tensor  # (N, 1, D), the first half's sign turned
    groups: tuple[Group, ...]
    tokens: Tensor  # (P K,) which row of (N K) stands at each place of each key head; padding repeats the last token
    places: Tensor  # (N K,) where each of these rows stands first
    copies: Tensor  # of (P K,), where one stands again
    unread: Tensor  # of (P K,), copies and padding: what their queries give is not read
    future: Tensor  # (QUERIES, L + QUERIES) minus infinity where a query may not look
    # No gradient flows, nor is the result compared with one that has: attention may be fused.
    read_only: bool = field(default=False, kw_only=True)

    def unseen(self, at: int, end: int) -> Tensor:
        """Return (n, 1, end): minus infinity where queries from `at` on may not look."""
        zero = self.future.shape[1] - QUERIES  # the column of a key that stands where the first query does
        return self.future[: end - at, None, zero - at : zero - at + end]

    def gather(self, x: Tensor) -> Tensor:
        """Return x (N, n K D) -> (P K, n D), head by head within a sequence."""
        return x.view(len(self.places), -1).index_select(0, self.tokens)

    def first(self, stacked: Tensor) -> Tensor:
        """Return (P K, n D) -> (N, n K D), of each token where it stands first."""
        return stacked.index_select(0, self.places).view(len(self.cos), -1)

    def summed(self, stacked: Tensor) -> Tensor:
        """Return (P K, n D) -> (N, n K D), the sum of each token's places, in float32 where there are several."""
        if not len(self.copies):
            return self.first(stacked)
        sums = stacked.index_select(0, self.places).float()
        sums.index_add_(0, self.tokens[self.copies], stacked.index_select(0, self.copies).float())
        return sums.to(stacked.dtype).view(len(self.cos), -1)


@dataclass(frozen=True)
class Laid:
    """Say which tokens of some sequences are computed: `firsts` (N,) are their places where all T tokens lie end to
    end, and `index` (T,) tells which of the N each token is."""

    rows: Rows
    firsts: Tensor
    index: Tensor


@torch.no_grad()
def lay(base: Any, sequences: Sequence[Sequence[int]], dtype: torch.dtype) -> Laid:
    """Return how to compute sequences of token ids, what several begin with once."""
    known: dict[tuple[int, int], int] = {}  # (the token before among the N, a token id): which of the N
    members: list[list[int]] = []
    firsts: list[int] = []
    total = 0
    for sequence in sequences:
        before, numbers = -1, []
        for token in sequence:
            if (before, token) not in known:
                known[before, token] = len(known)
                firsts.append(total)
            before = known[before, token]
            numbers.append(before)
            total += 1
        members.append(numbers)
    device = next(base.parameters()).device
    index = torch.tensor([number for numbers in members for number in numbers], device=device)
    return Laid(_rows(base, members, dtype), torch.tensor(firsts, device=device), index)


def embedded(base: Any, sequences: Sequence[Sequence[int]], dtype: torch.dtype) -> tuple[Tensor, Laid]:
    """Return the embeddings (N, H) of what is computed of sequences of token ids, and how it lies."""
    laid = lay(base, sequences, dtype)
    ids = torch.tensor([token for sequence in sequences for token in sequence])
    return base.embed_tokens(ids[laid.firsts]), laid


@torch.no_grad()
def rows_of(base: Any, lengths: Sequence[int], dtype: torch.dtype) -> Rows:
    """Return the rows of sequences of these lengths, of which each token is computed for itself."""
    ends = torch.tensor(lengths).cumsum(0).tolist()
    return _rows(base, [list(range(end - n, end)) for n, end in zip(lengths, ends, strict=True)], dtype)


def _rows(base: Any, members: list[list[int]], dtype: torch.dtype) -> Rows:
    """Return the rows of sequences that are given by the numbers of their tokens, new ones in ascending order."""
    config, device = base.config, next(base.parameters()).device
    K = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    N = 1 + max(numbers[-1] for numbers in members if numbers)
    positions = torch.empty(N, dtype=torch.long)
    for numbers in members:
        positions[numbers] = torch.arange(len(numbers))
    cos, sin = base.rotary_emb(torch.empty(0, dtype=dtype, device=device), position_ids=positions[None].to(device))
    half = cos.shape[-1] // 2
    sin = torch.cat([-sin[..., :half], sin[..., half:]], -1)
    groups, tokens, is_copy, is_padding = _grouped(members, K)
    unread = is_copy | is_padding
    places = torch.empty(N * K, dtype=torch.long)
    places[tokens[~unread]] = (~unread).nonzero()[:, 0]
    most = max(group.width for group in groups)
    future = torch.full((min(QUERIES, most), most + QUERIES), float("-inf"), dtype=dtype).triu_(most + 1)
    copies, unread = is_copy.nonzero()[:, 0], unread.nonzero()[:, 0]
    index = (x.to(device) for x in (tokens, places, copies, unread, future))
    return Rows(cos[0, :, None], sin[0, :, None], groups, *index)


def _grouped(members: list[list[int]], K: int) -> tuple[tuple[Group, ...], Tensor, Tensor, Tensor]:
    """Return the groups; of each place (P K,) the row of (N K) that stands there, whether it stands in an earlier
    sequence, too, and whether it is padding."""
    known, kinds = 0, dict[tuple[int, bool], list[tuple[list[int], int]]]()
    for numbers in members:
        n, skip = len(numbers), sum(number < known for number in numbers)
        known = max([known, *(number + 1 for number in numbers[-1:])])
        if n:
            width = -(-n // STEP) * STEP if n <= QUERIES else n
            kinds.setdefault((width, skip > 0), []).append((numbers, skip))
    groups: list[Group] = []
    tokens, copies, padding, first = [], [], [], 0
    for (width, _), chosen in kinds.items():
        groups.append(Group(first, len(chosen), width, min(skip for _, skip in chosen)))
        first += len(chosen) * width
        place = torch.arange(width)
        for numbers, skip in chosen:
            token = torch.tensor(numbers)[place.clamp(max=len(numbers) - 1)]
            tokens.append((token * K + torch.arange(K)[:, None]).flatten())
            copies.append((place < skip).repeat(K))
            padding.append((place >= len(numbers)).repeat(K))
    return tuple(groups), torch.cat(tokens), torch.cat(copies), torch.cat(padding)
