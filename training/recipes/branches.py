"""A prompt and all its completions in one row, so that the prompt is forwarded once and hardly anything is padded.

    [prompt][completion 1][completion 2] ...

Each completion attends to the prompt and to itself, and its positions go on where the prompt's end: every token gets
the state that it would have in a row of its own. Gradients flow as usual. Models whose layers do not all attend to
everything before (sliding windows, linear attention) get a plain row for each completion.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

LONGEST = 2048  # tokens of a row: attention looks at all pairs of them
NAME = "assay_branches"


@dataclass(frozen=True)
class Row:
    prompt: list[int]
    completions: list[list[int]]

    def __len__(self) -> int:
        return len(self.prompt) + sum(len(c) for c in self.completions)


def can_branch(config: Any) -> bool:
    """Whether every layer attends to all that came before."""
    kinds = getattr(config, "layer_types", None) or ["full_attention"]
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    rotary = hasattr(config, "rope_parameters") or hasattr(config, "rope_theta")
    return rotary and all(kind == "full_attention" for kind in kinds) and (not window or window >= LONGEST)


def rows_of(prompts: list[list[int]], groups: list[list[list[int]]], *, branching: bool) -> list[Row]:
    """A prompt with so many completions that the row would grow too long is repeated in the next one."""
    rows = []
    for prompt, completions in zip(prompts, groups, strict=True):
        row: Row | None = None
        for completion in completions:
            if row is None or not branching or len(row) + len(completion) > LONGEST:
                row = Row(prompt, [])
                rows.append(row)
            row.completions.append(completion)
    return rows


def tensors(rows: list[Row], pad: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """(input ids, positions, what is added to the attention scores); the last (R, 1, T, T), or (R, T) for plain rows.

    Padding follows, so that nothing sees it.
    """
    width = max((len(row) for row in rows), default=0) or 1
    ids, positions, branch = [], [], []
    for row in rows:
        gap, start = width - len(row), len(row.prompt)
        ids.append([*row.prompt, *(t for c in row.completions for t in c)] + [pad] * gap)
        own = [p for c in row.completions for p in range(start, start + len(c))]
        positions.append([*range(start), *own] + [0] * gap)
        branch.append([0] * start + [k for k, c in enumerate(row.completions, 1) for _ in c] + [-1] * gap)
    of = torch.tensor(branch)
    if all(len(row.completions) == 1 for row in rows):
        return torch.tensor(ids), torch.tensor(positions), (of >= 0).long()
    visible = (of[:, None, :] == 0) | (of[:, None, :] == of[:, :, None])
    visible &= torch.ones(width, width, dtype=torch.bool).tril()
    added = torch.zeros(visible.shape, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)
    return torch.tensor(ids), torch.tensor(positions), added[:, None]


def places(rows: list[Row]) -> tuple[Tensor, Tensor, Tensor]:
    """Where each completion's tokens stand: its row (B,), their columns (B, Tc), and which of these are its own."""
    spans = []
    for number, row in enumerate(rows):
        start = len(row.prompt)
        for completion in row.completions:
            spans.append((number, start, len(completion)))
            start += len(completion)
    row_of, first, length = (torch.tensor(part) for part in zip(*spans, strict=True))
    offset = torch.arange(max(int(length.max()), 1))
    inside = offset < length[:, None]
    return row_of, torch.where(inside, first[:, None] + offset, 0), inside


def grouped_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """As `training.rl.attention`, with a mask (B, 1, T, T): query (B, Q, T, D), key and value (B, K, T, D)."""
    B, Q, T, D = query.shape
    K = key.shape[1]
    scores = (query.reshape(B, K, Q // K * T, D) @ key.transpose(2, 3)).view(B, K, Q // K, T, T)
    weights = torch.add(attention_mask[:, :, None], scores, alpha=scaling).softmax(-1)
    mixed = weights.view(B, K, Q // K * T, T) @ value
    return mixed.view(B, Q, T, D).transpose(1, 2), None


AttentionInterface.register(NAME, grouped_attention)


@contextmanager
def fast_attention(model: Any, ids: Tensor, mask: Tensor) -> Iterator[None]:
    """Within, a model on a processor multiplies branches faster than torch's fused kernel does, above all backwards."""
    config = model.config
    usual = config._attn_implementation
    if ids.device.type == "cpu" and usual == "sdpa" and mask.dim() == 4:
        config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = usual
