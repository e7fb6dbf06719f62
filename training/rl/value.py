"""Fit the value function: a linear head on hidden states of the reference, which never move.

Its features are the state's hidden vector and the mean of those since the answer began: the running mean is what a
reward model that pools over the answer sees so far. The frozen trunk gives them without a forward of their own, and the
head's loss cannot pull at the policy.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.rl.rollout import Rollout

RIDGES = (0.01, 0.1, 1.0, 10.0, 100.0)


def state_features(hidden: Tensor, rollout: Rollout) -> Tensor:
    """Return hidden (B, T, H) of the sequences -> (B, N, 2H) float32 of the states in which tokens were drawn."""
    steps = torch.arange(rollout.mask.shape[1], device=hidden.device)
    columns = (rollout.prompt_lengths[:, None] - 1 + steps).clamp(max=hidden.shape[1] - 1)
    states = hidden.gather(1, columns[..., None].expand(-1, -1, hidden.shape[-1])).float()
    running = states.cumsum(1) / (steps + 1)[:, None]
    return torch.cat([states, running], -1)


def prefix_features(hidden: dict[int, Tensor], rollout: Rollout, features: Sequence[tuple[int, str]]) -> Tensor:
    """Return {layer: (B, T, H)} -> (B, N, F): what a reward model that pools by `features` sees of the answer so far.

    Before the first token there is no answer: the state that ends the prompt stands in for it.
    """
    steps = torch.arange(rollout.mask.shape[1], device=rollout.ids.device)
    parts = []
    for layer, pooling in features:
        columns = (rollout.prompt_lengths[:, None] - 1 + steps).clamp(max=hidden[layer].shape[1] - 1)
        states = hidden[layer].gather(1, columns[..., None].expand(-1, -1, hidden[layer].shape[-1])).float()
        if pooling == "mean":
            running_mean = states[:, 1:].cumsum(1) / steps[1:, None]
            states = torch.cat([states[:, :1], running_mean], 1)
        parts.append(states)
    return torch.cat(parts, -1)


class ValueHead(nn.Module):
    mean: Tensor
    scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, N, F) -> (B, N)"""
        return self.linear((features - self.mean) * self.scale)[..., 0]

    @torch.no_grad()
    def begin_from(
        self, weight: Tensor, bias: Tensor, mean: Tensor, std: Tensor, *, shift: float = 0.0, scale: float = 1.0
    ) -> None:
        """Begin from a reward head: the value of a prefix is that head's score of it, (score - shift) / scale. weight,
        mean, std (F,)."""
        width = weight.numel() ** 0.5  # as in `warm_up`: the features have length 1 altogether
        self.mean.copy_(mean)
        self.scale.copy_(1 / (std.clamp(min=1e-6) * width))
        self.linear.weight.copy_((weight * width / scale)[None])
        self.linear.bias.copy_((bias.reshape(1) - shift) / scale)

    @torch.no_grad()
    def warm_up(self, features: Tensor, mask: Tensor, scores: Tensor) -> float:
        """Fit the head on the parent's own episodes by ridge regression: a value for every prefix.

        features (B, N, F), mask (B, N), scores (B,) -> the share of variance explained on held-out episodes. Fitted on
        the episodes that train the policy it would know their scores by heart, and no advantage would be left.
        """
        valid = features[mask]
        self.mean.copy_(valid.mean(0))
        # Scaled to length 1 altogether, so that one step of Adam moves every value a little and not by its width.
        self.scale.copy_(1 / (valid.std(0).clamp(min=1e-6) * valid.shape[1] ** 0.5))
        x = (features - self.mean) * self.scale
        is_held_out = torch.arange(len(scores), device=scores.device) % 4 == 0
        spread = mask * scores[:, None]
        training_mask, unseen = mask & ~is_held_out[:, None], mask & is_held_out[:, None]
        fits = {r: _unexplained(_ridge(x[training_mask], spread[training_mask], r), x, spread, unseen) for r in RIDGES}
        best = min(fits, key=lambda ridge: fits[ridge])
        if fits[best] >= 1:  # says nothing on episodes it has not seen: start from the mean
            self.linear.bias.fill_(float(spread[mask].mean()))
            return 0.0
        weight, bias = _ridge(x[mask], spread[mask], best)
        self.linear.weight.copy_(weight[None])
        self.linear.bias.copy_(bias[None])
        return 1 - fits[best]


def _ridge(x: Tensor, y: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    centre, level = x.mean(0), y.mean()
    centred = x - centre
    gram = centred.T @ centred / len(x)
    gram.diagonal().add_(ridge * float(gram.diagonal().mean()))
    weight = torch.linalg.solve(gram, centred.T @ (y - level) / len(x))
    return weight, level - centre @ weight


def _unexplained(fit: tuple[Tensor, Tensor], x: Tensor, y: Tensor, mask: Tensor) -> float:
    weight, bias = fit
    target = y[mask]
    return float(((x[mask] @ weight + bias - target) ** 2).mean() / target.var(unbiased=False).clamp(min=1e-12))
