"""Attend over several sequences laid end to end, forward and backward, with few and large products.

Sequences of nearly one length are padded to one width and attended together: with one product for each of them, calling
cost as much as multiplying. A sequence's width depends on its own length alone, and so do the bits of its result,
whatever lies beside it. Padding stands behind, where the causal order hides it. Rows that are read alone go, where they
are long and most of their tokens stand in no other, through torch's own kernel, whose last digits are others: not in
bfloat16 without AMX, where it takes 1.4 to 1.7 times as long.

Keys and values of a token that several sequences begin with (`packed_rows`) stand in each of them, its query in one.

Shapes: N tokens, P places, Q and K query and key heads, G = Q / K, D head. Heads of keys are batches of their own, and
the query heads of one key head stand as so many positions: nothing is repeated.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from training.rl.packed.packed_rows import Group, Rows


def attend_masked(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float | None = None) -> Tensor:
    """Return the attention of query (B, Q, T, D) to key and value (B, K, S, D) under a mask (B, 1, T, S), by torch's
    own kernel -> (B, Q, T, D).

    On CUDA none of the fast ones takes a mask with fewer heads of keys than of queries, and what is left keeps all
    scores: there keys and values are repeated.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1 and query.device.type == "cuda":
        key, value, groups = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1), 1
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling, enable_gqa=groups > 1)


def is_fused_faster(weight: Tensor) -> bool:
    """Return whether torch's own kernel is quicker than two batched products where each head has one query: in bfloat16
    with AMX. Without it the kernel takes three to seven times as long, and in float32 no less (AVX2 and AVX512)."""
    return weight.device.type == "cpu" and weight.dtype == torch.bfloat16 and torch.cpu._is_amx_tile_supported()


def attend(query: Tensor, key: Tensor, value: Tensor, rows: Rows, scaling: float) -> tuple[Tensor, list[Tensor]]:
    """Return query (N, Q D), key and value (N, K D) -> (N, Q D), and what `attend_backward` needs (nothing of rows that
    are read alone: these keep no weights)."""
    D = rows.cos.shape[-1]
    K = key.shape[1] // D
    stacked = [rows.gather(x) for x in (query, key, value)]
    mixed, weights = torch.empty_like(stacked[0]), list[Tensor]()
    for group in rows.groups:
        q, k, v, out = (group.of(x, K) for x in (*stacked, mixed))
        if not rows.read_only:
            weights += _attend_blocks(q, k, v, out, group, rows, scaling)
        elif group.is_long() and (query.dtype != torch.bfloat16 or torch.cpu._is_amx_tile_supported()):
            _attend_fused(q, k, v, out, group.count, scaling)
        else:  # one by one, the scores of a long sequence stay in the cache
            count = group.count if group.is_long() else 1
            for each in zip(q.chunk(count), k.chunk(count), v.chunk(count), out.chunk(count), strict=True):
                _attend_blocks(*each, group, rows, scaling)
    return rows.first(mixed), [*stacked, *weights]


def _attend_blocks(
    query: Tensor, key: Tensor, value: Tensor, out: Tensor, group: Group, rows: Rows, scaling: float
) -> list[Tensor]:
    """Write into `out` the causal attention of query (n, T, G D) to key and value (n, T, D), some queries at a time;
    return the weights of each block, (n, G times queries, keys)."""
    n, _, D = key.shape
    weights = []
    for at, end in group.blocks():
        scores = torch.bmm(_heads(query[:, at:end], D), key[:, :end].transpose(1, 2)).view(n, end - at, -1, end)
        torch.add(rows.unseen(at, end), scores, alpha=scaling, out=scores)
        weights.append(scores.softmax(-1).view(n, -1, end))
        torch.bmm(weights[-1], value[:, :end], out=_heads(out[:, at:end], D))
    return weights


def _attend_fused(query: Tensor, key: Tensor, value: Tensor, out: Tensor, count: int, scaling: float) -> None:
    """Write into `out` the causal attention of query (count K, T, G D) to key and value (count K, T, D), by torch's own
    kernel: forward alone it is quicker on long sequences, and its weights never stand in memory."""
    T, D = key.shape[1:]
    heads = query.view(count, -1, T, query.shape[2] // D, D).transpose(2, 3)  # (count, K, G, T, D)
    k, v = (x.view(count, -1, T, D) for x in (key, value))
    mixed = F.scaled_dot_product_attention(heads.flatten(1, 2), k, v, is_causal=True, scale=scaling, enable_gqa=True)
    out.view(count, -1, T, heads.shape[2], D).copy_(mixed.view(heads.shape).transpose(2, 3))


def attend_backward(
    slope: Tensor, saved: Sequence[Tensor], rows: Rows, scaling: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return slope (N, Q D) -> towards query (N, Q D), key and value (N, K D)."""
    (*stacked, weights), D = (*saved[:3], iter(saved[3:])), saved[1].shape[1]
    towards, K = [torch.zeros_like(x) for x in stacked], len(rows.places) // len(slope)
    into = rows.gather(slope).index_fill_(0, rows.unread, 0.0)
    for group in rows.groups:
        q, k, v, to_q, to_k, to_v, piece = (group.of(x, K) for x in (*stacked, *towards, into))
        blocks = group.blocks()
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
    return rows.first(towards[0]), rows.summed(towards[1]), rows.summed(towards[2])


def _heads(x: Tensor, D: int) -> Tensor:
    """Return (B, n, G D) -> (B, n G, D)."""
    return x.view(len(x), -1, D)
