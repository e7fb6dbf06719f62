"""Attend over several sequences laid end to end, forward and backward, with few and large products.

Sequences of nearly one length are padded to one width and attended together: with one product for each of them, calling
cost as much as multiplying. A sequence's width depends on its own length alone, and so do the bits of its result,
whatever lies beside it. Padding stands behind, where the causal order hides it.

Shapes: N tokens, P places of tokens and padding, Q and K query and key heads, G = Q / K, D head. Heads of keys are
batches of their own, and the query heads of one key head stand as so many positions: nothing is repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

QUERIES = 256  # attended at once: keys behind the last of them are not looked at
STEP = 8  # widths of sequences of up to QUERIES tokens are multiples of it


@dataclass(frozen=True)
class Group:
    """Hold `count` sequences of one `width`, which stand from `first` among the P places."""

    first: int
    count: int
    width: int
    added: Tensor | None = None  # (T, T) to the scores; none: all before is seen

    def of(self, stacked: Tensor, K: int) -> Tensor:
        """Return the group's part of (P K, n D) as (count K, width, n D)."""
        part = stacked[self.first * K : (self.first + self.count * self.width) * K]
        return part.view(self.count * K, self.width, -1)


@dataclass(frozen=True)
class Rows:
    """Say where the sequences lie in N tokens, how they are grouped, and the rotations at their places."""

    cos: Tensor  # (N, 1, D)
    sin: Tensor  # (N, 1, D), the first half's sign turned
    groups: tuple[Group, ...]
    tokens: Tensor  # (P K,) which row of (N K) stands at each place of each key head; padding repeats the last token
    places: Tensor  # (N K,) where each of these rows stands
    padding: Tensor  # of (P K,), those without a token
    future: Tensor  # (QUERIES, L + QUERIES) minus infinity where a query may not look: see `_unseen`

    def gather(self, x: Tensor) -> Tensor:
        """Return x (N, n K D) -> (P K, n D), head by head within a sequence."""
        return x.view(len(self.places), -1).index_select(0, self.tokens)

    def scatter(self, stacked: Tensor) -> Tensor:
        """Return (P K, n D) -> (N, n K D), without the padding."""
        return stacked.index_select(0, self.places).view(len(self.cos), -1)


@torch.no_grad()
def rows_of(
    base: Any, lengths: Sequence[int], dtype: torch.dtype, positions: Sequence[int] = (), added: Sequence[Tensor] = ()
) -> Rows:
    """Return the rows of sequences of these lengths. `positions` (N,) of the tokens, where they do not count from 0;
    `added` (n, n) to the scores of each sequence, where it is not that all before is seen."""
    config, device = base.config, next(base.parameters()).device
    K = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    at = torch.tensor(positions) if len(positions) else torch.cat([torch.arange(n) for n in lengths])
    cos, sin = base.rotary_emb(torch.empty(0, dtype=dtype, device=device), position_ids=at[None].to(device))
    half = cos.shape[-1] // 2
    sin = torch.cat([-sin[..., :half], sin[..., half:]], -1)
    groups, tokens, is_token = _grouped(list(lengths), list(added), K)
    places = torch.empty(sum(lengths) * K, dtype=torch.long)
    places[tokens[is_token]] = is_token.nonzero()[:, 0]
    most = max(group.width for group in groups)
    future = torch.full((min(QUERIES, most), most + QUERIES), float("-inf"), dtype=dtype).triu_(most + 1)
    index = (x.to(device) for x in (tokens, places, (~is_token).nonzero()[:, 0], future))
    return Rows(cos[0, :, None], sin[0, :, None], groups, *index)


def _grouped(lengths: list[int], added: list[Tensor], K: int) -> tuple[tuple[Group, ...], Tensor, Tensor]:
    """Return the groups, the row (P K,) of (N K) at each place, and whether it is a token's and not padding's."""
    counts, starts = torch.tensor(lengths), torch.tensor([0, *lengths]).cumsum(0)
    members: dict[tuple[int, int], list[int]] = {}
    for i, n in enumerate(lengths):
        pads = not added and n <= QUERIES
        members.setdefault((-(-n // STEP) * STEP, -1) if pads else (n, i), []).append(i)
    groups: list[Group] = []
    rows, inside, first = [], [], 0
    for (width, alone), chosen in members.items():
        groups.append(Group(first, len(chosen), width, added[alone] if added else None))
        first += len(chosen) * width
        place, own = torch.arange(width), counts[chosen][:, None]
        token = starts[chosen][:, None] + place.minimum(own - 1)
        rows.append((token[:, None] * K + torch.arange(K)[:, None]).flatten())
        inside.append((place < own)[:, None].expand(-1, K, -1).flatten())
    return tuple(groups), torch.cat(rows), torch.cat(inside)


def _blocks(group: Group) -> list[tuple[int, int]]:
    """Return (first query, end) of each block of queries: its keys lie before the end."""
    return [(at, min(at + QUERIES, group.width)) for at in range(0, group.width, QUERIES)]


def _unseen(rows: Rows, group: Group, at: int, end: int) -> Tensor:
    """Return (n, 1, end): minus infinity where queries from `at` on may not look."""
    if group.added is not None:
        return group.added[at:end, None, :end]
    zero = rows.future.shape[1] - QUERIES  # the column of a key that stands where the first query does
    return rows.future[: end - at, None, zero - at : zero - at + end]


def attend(query: Tensor, key: Tensor, value: Tensor, rows: Rows, scaling: float) -> tuple[Tensor, list[Tensor]]:
    """Return query (N, Q D), key and value (N, K D) -> (N, Q D), and what `attend_backward` needs."""
    D = rows.cos.shape[-1]
    K = key.shape[1] // D
    stacked = [rows.gather(x) for x in (query, key, value)]
    mixed, weights = torch.empty_like(stacked[0]), []
    for group in rows.groups:
        q, k, v, out = (group.of(x, K) for x in (*stacked, mixed))
        for at, end in _blocks(group):
            scores = torch.bmm(_heads(q[:, at:end], D), k[:, :end].transpose(1, 2)).view(len(q), end - at, -1, end)
            torch.add(_unseen(rows, group, at, end), scores, alpha=scaling, out=scores)
            weights.append(scores.softmax(-1).view(len(q), -1, end))
            torch.bmm(weights[-1], v[:, :end], out=_heads(out[:, at:end], D))
    return rows.scatter(mixed), [*stacked, *weights]


def attend_backward(
    slope: Tensor, saved: Sequence[Tensor], rows: Rows, scaling: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return slope (N, Q D) -> towards query (N, Q D), key and value (N, K D)."""
    (*stacked, weights), D = (*saved[:3], iter(saved[3:])), saved[1].shape[1]
    towards, K = [torch.zeros_like(x) for x in stacked], len(rows.places) // len(slope)
    into = rows.gather(slope).index_fill_(0, rows.padding, 0.0)
    for group in rows.groups:
        q, k, v, to_q, to_k, to_v, piece = (group.of(x, K) for x in (*stacked, *towards, into))
        blocks = _blocks(group)
        # Keys of a long sequence are seen by several blocks: their sums in float32.
        of_k, of_v = (x if len(blocks) == 1 else x.float() for x in (to_k, to_v))
        for at, end in blocks:
            chances, of_mixed = next(weights), _heads(piece[:, at:end], D)
            of_v[:, :end] += torch.bmm(chances.transpose(1, 2), of_mixed)
            of_chances = torch.bmm(of_mixed, v[:, :end].transpose(1, 2))
            scores = torch.ops.aten._softmax_backward_data(of_chances, chances, -1, chances.dtype).mul_(scaling)
            torch.bmm(scores, k[:, :end], out=_heads(to_q[:, at:end], D))
            of_k[:, :end] += torch.bmm(scores.transpose(1, 2), _heads(q[:, at:end], D))
        to_k.copy_(of_k), to_v.copy_(of_v)
    to_q, to_k, to_v = (rows.scatter(x) for x in towards)
    return to_q, to_k, to_v


def _heads(x: Tensor, D: int) -> Tensor:
    """Return (B, n, G D) -> (B, n G, D)."""
    return x.view(len(x), -1, D)
