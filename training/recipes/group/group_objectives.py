"""Say what GRPO and RLOO learn from a batch: advantages of answers within their groups, and the clipped losses.

Shapes: B answers, G of each prompt side by side, of at most N tokens. A loss is a weighted sum over answers, so that
parts of a batch add up to it, whatever is computed at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from training.configs import GRPOConfig, RLOOConfig
from training.rl.kl import kl_per_token
from training.rl.losses import LOG_RATIO_LIMIT

TINY = 1e-4  # added to deviations, so that groups whose answers score alike have advantages of 0


@dataclass(frozen=True)
class Advantages:
    """Hold the advantages of answers (B,), and the share of groups whose answers are rewarded alike."""

    values: Tensor
    alike: float


@dataclass(frozen=True)
class Lengths:
    """Say how long a minibatch's answers are: `own` (b,) those of a part of it, `count` of them and `tokens` in all;
    `usual` is how many tokens a minibatch of the batch has in the mean."""

    own: Tensor
    count: int
    tokens: float
    usual: float


@dataclass(frozen=True)
class Part:
    """Hold the loss of a part of a minibatch, and the share of the minibatch whose ratios the clip binds."""

    loss: Tensor
    clipped: float


class Objective(Protocol):
    """What differs between the two methods."""

    @property
    def kl_estimator(self) -> str: ...

    def needs_drawn(self, updates: int) -> bool:
        """Return whether the logprobs at drawing are to be computed before `updates` on a batch."""
        ...

    def advantages(self, scores: Tensor, kl: Tensor | None) -> Advantages:
        """Return the advantages of answers by their scores (B,) and KL (B,) from the parent in nats, where it is
        rewarded."""
        ...

    def part(
        self, logprobs: Tensor, drawn: Tensor, ref_logprobs: Tensor | None, advantages: Tensor, mask: Tensor,
        lengths: Lengths,
    ) -> Part:  # fmt: skip
        """Return the loss of some answers. Log-probabilities (b, N), advantages (b,)."""
        ...


@dataclass(frozen=True)
class GRPO:
    """Learn by the score above the mean of a group, over its deviation (Shao 2024, 2402.03300).

    The KL from the parent is part of the loss, each token's times its ratio, whose gradient is then that of the KL
    (DeepSeek-V3.2, 2512.02556). How token losses are averaged: DAPO (2503.14476) over all tokens, GRPO
    over those of an answer and then over answers, BNPO over the tokens of a minibatch, Dr. GRPO (2503.20783) by the
    longest answer that there may be.
    """

    config: GRPOConfig

    @property
    def kl_estimator(self) -> str:
        return "k3"

    def needs_drawn(self, updates: int) -> bool:
        return updates > 1  # the first starts where the answers were drawn: its ratio is 1

    def advantages(self, scores: Tensor, kl: Tensor | None) -> Advantages:
        groups = scores.view(-1, self.config.group_size)
        apart = scores.std().expand(1) if self.config.scale_rewards == "batch" else groups.std(1)
        values = groups - groups.mean(1, keepdim=True)
        if self.config.scale_rewards != "none":
            values = values / (apart[:, None] + TINY)
        return Advantages(values.flatten(), _share_of_zeros(groups.std(1)))

    def part(
        self, logprobs: Tensor, drawn: Tensor, ref_logprobs: Tensor | None, advantages: Tensor, mask: Tensor,
        lengths: Lengths,
    ) -> Part:  # fmt: skip
        ratio = _ratio((logprobs - drawn) * mask)
        losses, binds = _clipped(ratio, advantages[:, None], self.config.clip)
        if ref_logprobs is not None and self.config.beta:
            kl = kl_per_token(logprobs, ref_logprobs, self.kl_estimator)
            losses = losses + self.config.beta * ratio * kl
        loss = ((losses * mask).sum(1) * self._weights(lengths)).sum()
        return Part(loss, float((binds & mask).sum()) / lengths.tokens)

    def _weights(self, lengths: Lengths) -> Tensor:
        """Return what the summed token losses of each answer are multiplied by, (b,)."""
        match self.config.loss:
            case "dapo":
                each = torch.full_like(lengths.own, lengths.usual)
            case "bnpo":
                each = torch.full_like(lengths.own, lengths.tokens)
            case "grpo":
                each = lengths.own * lengths.count
            case _:  # dr_grpo
                each = torch.full_like(lengths.own, float(self.config.max_new_tokens * lengths.count))
        return 1 / each


@dataclass(frozen=True)
class RLOO:
    """Learn by the reward above the mean of the others' to the same prompt (Ahmadian 2024, 2402.14740).

    The KL from the parent is part of the reward, as in PPO, but for the answer as a whole; so is the ratio.
    """

    config: RLOOConfig

    @property
    def kl_estimator(self) -> str:
        return "k1"

    def needs_drawn(self, updates: int) -> bool:
        return updates > 1 or self.config.beta > 0

    def advantages(self, scores: Tensor, kl: Tensor | None) -> Advantages:
        rewards = scores if kl is None else scores - self.config.beta * kl
        groups = rewards.view(-1, self.config.group_size)
        others = (groups.sum(1, keepdim=True) - groups) / (self.config.group_size - 1)
        values = (groups - others).flatten()
        if self.config.normalise_advantages:
            values = (values - values.mean()) / (values.std() + TINY)
        return Advantages(values, _share_of_zeros(scores.view(-1, self.config.group_size).std(1)))

    def part(
        self, logprobs: Tensor, drawn: Tensor, ref_logprobs: Tensor | None, advantages: Tensor, mask: Tensor,
        lengths: Lengths,
    ) -> Part:  # fmt: skip
        losses, binds = _clipped(_ratio(((logprobs - drawn) * mask).sum(1)), advantages, self.config.clip)
        return Part(losses.sum() / lengths.count, float(binds.sum()) / lengths.count)


def _ratio(log_ratio: Tensor) -> Tensor:
    return log_ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def _clipped(ratio: Tensor, advantages: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Return PPO's clipped losses, and where the clip binds."""
    losses = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip))
    with torch.no_grad():
        binds = ((ratio < 1 - clip) & (advantages < 0)) | ((ratio > 1 + clip) & (advantages > 0))
    return losses, binds


def _share_of_zeros(deviations: Tensor) -> float:
    return float(torch.isclose(deviations, torch.zeros_like(deviations)).float().mean())
