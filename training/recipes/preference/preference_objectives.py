"""Say what DPO and KTO learn from, what an example costs, and what is logged of a step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.recipes.preference.preference_losses import pair_losses, thumb_losses

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Seen:
    """Hold what a step has seen of its B examples and their k answers each."""

    rows: np.ndarray  # (B,) the examples
    losses: np.ndarray  # (B,)
    logprobs: np.ndarray  # (B, k)
    logratios: np.ndarray  # (B, k)


class Objective(ABC):
    """Hold what is learnt from: `answers` (E, k), where the answers of each example are among a run's examples, and
    `elsewhere` (E,), answers to other prompts, which tell how far the policy has moved; None: nothing asks for it."""

    answers: np.ndarray
    elsewhere: np.ndarray | None

    @abstractmethod
    def losses(self, rows: np.ndarray, logratios: Tensor, kl: float) -> Tensor:
        """Return (B,) the losses of these examples (B,) from their log-ratios (B, k)."""

    @abstractmethod
    def figures(self, seen: Seen) -> Figures:
        """Return what is logged of a step, by its names."""


@dataclass(frozen=True)
class Pairs(Objective):
    """DPO's: the chosen and the rejected answer of each comparison. `weights` (E,) have the mean 1: the pairs of a
    ranking share what one annotation weighs, as a reward model has it."""

    answers: np.ndarray  # (E, 2)
    lengths: np.ndarray  # (E, 2) tokens
    weights: np.ndarray
    beta: float
    loss: str
    label_smoothing: float
    elsewhere: None = None

    def losses(self, rows: np.ndarray, logratios: Tensor, kl: float) -> Tensor:
        lengths = torch.tensor(self.lengths[rows], device=logratios.device)
        own = pair_losses(
            logratios, lengths, loss=self.loss, beta=self.beta, label_smoothing=self.label_smoothing
        )  # fmt: skip
        return own * torch.tensor(self.weights[rows], dtype=own.dtype, device=own.device)

    def figures(self, seen: Seen) -> Figures:
        chosen, rejected = (self.beta * seen.logratios.mean(0)).tolist()
        return {
            "train_pair_accuracy": float((seen.logratios[:, 0] > seen.logratios[:, 1]).mean()),
            "margin": chosen - rejected,
            "chosen_reward": chosen,
            "rejected_reward": rejected,
            "chosen_logprob": float(seen.logprobs[:, 0].mean()),
            "rejected_logprob": float(seen.logprobs[:, 1].mean()),
        }


@dataclass(frozen=True)
class Thumbs(Objective):
    """KTO's: one answer for each thumb, `ups` (E,) of them up; `weights` are those of thumbs up and down."""

    answers: np.ndarray  # (E, 1)
    elsewhere: np.ndarray
    ups: np.ndarray
    beta: float
    weights: tuple[float, float]

    def losses(self, rows: np.ndarray, logratios: Tensor, kl: float) -> Tensor:
        ups = torch.tensor(self.ups[rows], device=logratios.device)
        return thumb_losses(logratios[:, 0], ups, kl, beta=self.beta, weights=self.weights)

    def figures(self, seen: Seen) -> Figures:
        found: dict[str, float] = {}
        ups = self.ups[seen.rows]
        for name, rows in (("chosen", ups), ("rejected", ~ups)):
            if rows.any():
                found[f"{name}_reward"] = self.beta * float(seen.logratios[rows].mean())
                found[f"{name}_logprob"] = float(seen.logprobs[rows].mean())
        if ups.any() and not ups.all():
            found["margin"] = found["chosen_reward"] - found["rejected_reward"]
        return found
