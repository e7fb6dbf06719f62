"""Lay several documents in a row without attention between them: which tokens, whose they are, who sees whom.

The corpus is one long run of tokens (`token_files`); row i is tokens i T to (i + 1) T, and one more to be predicted.
No token is padding and none is left out but a rest shorter than a row. A document that a row's end cuts goes on in the
next row without what came before. Positions count from the document's beginning in the row.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor


def count_rows(tokens: int, length: int) -> int:
    return max((tokens - 1) // length, 0)


def row(ids: np.ndarray, index: int, length: int) -> np.ndarray:
    """Return (length + 1,) int64: a row and the token after it."""
    return ids[index * length : (index + 1) * length + 1].astype(np.int64)


def segments(tokens: np.ndarray, end: int) -> np.ndarray:
    """Return (B, T) of tokens -> (B, T): 1, 2, 3 … for the documents of each row. An end token begins a document."""
    begins = tokens == end
    begins[:, 0] = True
    return np.cumsum(begins, axis=1)


def positions(segments: np.ndarray) -> np.ndarray:
    """Return (B, T): each token's place in its document, from 0."""
    indices = np.broadcast_to(np.arange(segments.shape[1]), segments.shape)
    first = np.ones_like(segments, dtype=bool)
    first[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return indices - np.maximum.accumulate(np.where(first, indices, 0), axis=1)


def attention_mask(queries: Tensor, keys: Tensor, causal: Tensor, dtype: torch.dtype) -> Tensor:
    """Return (B, 1, Q, K) to be added to scores: 0 where a token may look, very negative where it may not.

    queries (B, Q) and keys (B, K) are segments, causal (B,) says of each row whether its tokens see what comes later.
    """
    allowed = queries[:, :, None] == keys[:, None, :]
    if bool(causal.any()):
        past = torch.ones(queries.shape[1], keys.shape[1], dtype=torch.bool, device=queries.device).tril()
        allowed &= past[None] | ~causal[:, None, None]
    mask = torch.zeros(allowed.shape, dtype=dtype, device=queries.device)
    # Not -inf: a padding token that may look at nothing would give NaN, and NaN times 0 is NaN.
    return mask.masked_fill_(~allowed, torch.finfo(dtype).min / 2)[:, None]


def shuffled(index: int, count: int, seed: int) -> int:
    """Return where row `index` of an epoch stands in the corpus: a permutation of `count` rows that needs no memory.

    A Feistel network over the next power of four, walked until it falls within `count` (Black and Rogaway 2002): a
    list of a billion rows, shuffled, would take 8 GB.
    """
    half = max((count - 1).bit_length() + 1, 2) // 2
    while True:
        left, right = index >> half, index & ((1 << half) - 1)
        for turn in range(4):
            left, right = right, left ^ (_mixed(right, turn, seed) & ((1 << half) - 1))
        index = left << half | right
        if index < count:
            return index


def _mixed(value: int, turn: int, seed: int) -> int:
    digest = hashlib.blake2b(f"{seed} {turn} {value}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
