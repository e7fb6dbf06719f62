"""Lay a prompt and all its completions in one row, so that the prompt is forwarded once and hardly anything is padded.

    [prompt][completion 1][completion 2] ...

Each completion attends to the prompt and to itself, and its positions go on where the prompt's end: every token gets
the state that it would have in a row of its own. Gradients flow as usual. Models whose layers do not all attend to
everything before (sliding windows, linear attention) get a plain row for each completion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from training.recipes.common import sharding
from training.rl.packed.packed_layers import packed_agrees, run_packed
from training.rl.packed.packed_rows import embedded

LONGEST = 2048  # tokens of a row: attention looks at all pairs of them


@dataclass(frozen=True)
class Row:
    prompt: list[int]
    completions: list[list[int]]

    def __len__(self) -> int:
        return len(self.prompt) + sum(len(c) for c in self.completions)


def can_branch(config: Any) -> bool:
    """Return whether every layer attends to all that came before."""
    kinds = getattr(config, "layer_types", None) or ["full_attention"]
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    rotary = hasattr(config, "rope_parameters") or hasattr(config, "rope_theta")
    return rotary and all(kind == "full_attention" for kind in kinds) and (not window or window >= LONGEST)


def rows_of(prompts: list[list[int]], groups: list[list[list[int]]], *, branching: bool) -> list[Row]:
    """Return the rows; a prompt with so many completions that the row would grow too long is repeated in the next
    one."""
    rows = []
    for prompt, completions in zip(prompts, groups, strict=True):
        row: Row | None = None
        for completion in completions:
            if row is None or not branching or len(row) + len(completion) > LONGEST:
                row = Row(prompt, [])
                rows.append(row)
            row.completions.append(completion)
    return rows


def tensors(rows: list[Row], pad: int, dtype: torch.dtype) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the input ids (R, T), and what a forward must be told: positions (R, T) and what is added to the attention
    scores (R, 1, T, T). Of plain rows nothing: attention without a mask is faster.

    Padding follows, so that nothing sees it.
    """
    width = max((len(row) for row in rows), default=0) or 1
    ids = torch.tensor(
        [[*row.prompt, *(t for c in row.completions for t in c)] + [pad] * (width - len(row)) for row in rows]
    )
    if all(len(row.completions) == 1 for row in rows):
        return ids, {}
    positions, branch = [], []
    for row in rows:
        gap, start = width - len(row), len(row.prompt)
        positions.append(_positions(row) + [0] * gap)
        branch.append([0] * start + [k for k, c in enumerate(row.completions, 1) for _ in c] + [-1] * gap)
    branch_ids = torch.tensor(branch)
    visible = (branch_ids[:, None, :] == 0) | (branch_ids[:, None, :] == branch_ids[:, :, None])
    visible &= torch.ones(width, width, dtype=torch.bool).tril()
    added = torch.zeros(visible.shape, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)
    return ids, {"position_ids": torch.tensor(positions), "attention_mask": added[:, None]}


def places(rows: list[Row]) -> tuple[Tensor, Tensor, Tensor]:
    """Return where each completion's tokens stand: its row (B,), their columns (B, Tc), and which of these are its
    own."""
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


_PACKS: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def packs(model: Any) -> bool:
    """Return whether the layers are run by hand (`rl.packed`): on a processor, where they are laid out as Llama's
    are."""
    if model.device.type != "cpu" or sharding.is_sharded(model):
        return False
    if model not in _PACKS:
        _PACKS[model] = packed_agrees(model)
    return _PACKS[model]


def packed_states(model: Any, rows: list[Row], layers: Sequence[int]) -> dict[int, Tensor]:
    """Return {layer: (N, H)} of all tokens of the rows laid end to end, without padding. Differentiable. What several
    rows begin with is computed once, too."""
    base = model.get_decoder()
    texts = [[*row.prompt, *completion] for row in rows for completion in row.completions]
    hidden, laid = embedded(base, texts, model.dtype)
    own, reached, states = laid.index[_own_tokens(rows)], 0, {}
    for layer in sorted(set(layers)):
        hidden = run_packed(base, hidden, laid.rows, reached, layer)
        found = base.norm(hidden) if layer == len(base.layers) else hidden
        # Indexed by brackets, several threads would add the gradients of a token of several answers in any order.
        states[layer] = found.index_select(0, own)
        reached = layer
    return states


def _own_tokens(rows: list[Row]) -> Tensor:
    """Return where the rows' tokens (N,) stand among those of prompt and completion for each completion."""
    places, start = list[int](), 0
    for row in rows:
        for number, completion in enumerate(row.completions):
            end = start + len(row.prompt) + len(completion)
            places += range(start if number == 0 else end - len(completion), end)
            start = end
    return torch.tensor(places)


def _positions(row: Row) -> list[int]:
    start = len(row.prompt)
    return [*range(start), *(p for c in row.completions for p in range(start, start + len(c)))]


def flat_places(rows: list[Row]) -> tuple[Tensor, Tensor]:
    """Return where each completion's tokens stand in the rows laid end to end: (B, Tc), and which of these are its
    own."""
    row, column, inside = places(rows)
    starts = torch.tensor([0, *(len(r) for r in rows)]).cumsum(0)
    return starts[row][:, None] + column, inside
