"""Lay out a batch of episodes for PPO: sequences flush left, and where each drawn token stands in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.rl.advantages import completion_mask
from training.rl.sampler import Completions


@dataclass(frozen=True)
class Rollout:
    """Hold B episodes of at most N drawn tokens in sequences of at most T.

    ids (B, T), prompt then completion then padding; prompt_lengths, lengths (B,), the latter counting the end token;
    tokens (B, N), right-padded; mask (B, N), true on drawn tokens; finished (B,), ended by an end token.
    """

    ids: Tensor
    prompt_lengths: Tensor
    lengths: Tensor
    tokens: Tensor
    mask: Tensor
    finished: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: Tensor) -> Rollout:
        """Return some of the episodes, without the padding that none of them needs."""
        width = int((self.prompt_lengths[rows] + self.lengths[rows]).max())
        longest = int(self.lengths[rows].max())
        return Rollout(
            self.ids[rows, :width], self.prompt_lengths[rows], self.lengths[rows],
            self.tokens[rows, :longest], self.mask[rows, :longest], self.finished[rows],
        )  # fmt: skip

    def states(self) -> tuple[Tensor, Tensor]:
        """Return row and column, in `ids`, of the state in which each drawn token was drawn: the token before it. (M,),
        (M,)

        M counts the true entries of `mask`, in its order.
        """
        rows, steps = self.mask.nonzero(as_tuple=True)
        return rows, self.prompt_lengths[rows] - 1 + steps

    def spread(self, values: Tensor) -> Tensor:
        """Return values (M,) of the drawn tokens -> (B, N), 0 on padding."""
        return torch.zeros(self.mask.shape, dtype=values.dtype, device=values.device).masked_scatter(self.mask, values)

    def text_mask(self) -> Tensor:
        """Return (B, T) bool over `ids`: the completion's words, without prompt, end token or padding."""
        positions = torch.arange(self.ids.shape[1], device=self.ids.device)
        ends = self.prompt_lengths + self.lengths - self.finished.long()
        return (positions >= self.prompt_lengths[:, None]) & (positions < ends[:, None])


def joined(parts: Sequence[tuple[Tensor, Tensor]], shape: Sequence[int]) -> Tensor:
    """Return values of rows as those of the whole batch: pairs of rows (b,) and values (b, n, ...) -> (B, N, ...).
    `shape` is (B, N); zeros where nothing was computed."""
    first = parts[0][1]
    whole = first.new_zeros(*shape, *first.shape[2:])
    for rows, values in parts:
        whole[rows, : values.shape[1]] = values
    return whole


def rollout_of(prompts: Sequence[Sequence[int]], completions: Completions, pad_id: int) -> Rollout:
    """Join prompts (token ids) and what was sampled after them."""
    device = completions.tokens.device
    prompt_lengths = torch.tensor([len(p) for p in prompts], device=device)
    longest = int(completions.lengths.max())
    tokens = completions.tokens[:, :longest]
    mask = completion_mask(completions.lengths, longest)
    width = int((prompt_lengths + completions.lengths).max())
    ids = torch.full((len(prompts), width), pad_id, dtype=torch.long, device=device)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt, device=device)
        ids[row, len(prompt) : len(prompt) + int(completions.lengths[row])] = tokens[row, mask[row]]
    return Rollout(ids, prompt_lengths, completions.lengths, tokens, mask, completions.finished)
