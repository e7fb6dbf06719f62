"""PPO whose value function is a network of the policy's size, every weight of which learns, as TRL's is:
`python -m benchmarks.ppo_own_networks RUN`.

It is the `ppo` recipe but for that network, which does the product's work in the product's way: no padding, forward and
backward by hand. It is no part of the product: a linear head on the frozen trunk's states learns as well, see
docs/experiments/ppo-speed.md.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.recipes.common import loading
from training.recipes.common.entry import run_recipe
from training.recipes.ppo import rollouts
from training.recipes.ppo.__main__ import main as ppo_main
from training.rl.rollout import Rollout
from training.rl.trunk import run_layers

KEPT = 4  # rollouts: between a step's own and its update those of held-out prompts are drawn, too


class ValueNetwork(nn.Module):
    """Read whole sequences. What PPO keeps of each as its features is which one it is: (B, N, 2), the number of the
    rollout and the row in it."""

    def __init__(self, policy: nn.Module, folder: str) -> None:
        super().__init__()
        self.model, _ = loading.load_policy(folder, next(policy.parameters()).dtype)
        self.model.requires_grad_(True)
        self.head = nn.Linear(self.model.config.hidden_size, 1)
        self._rollouts: dict[int, Rollout] = {}
        self._drawn = 0

    def features_of(self, hidden: Tensor, rollout: Rollout) -> Tensor:
        """Take the rollout that comes next, in the place of `training.rl.value.state_features`."""
        self._drawn += 1
        self._rollouts[self._drawn] = rollout
        self._rollouts.pop(self._drawn - KEPT, None)
        rows = torch.arange(len(rollout))[:, None].expand(rollout.mask.shape)
        return torch.stack([torch.full_like(rows, self._drawn), rows], -1)

    def forward(self, features: Tensor) -> Tensor:
        """Return (b, N, 2) -> (b, N), 0 on padding."""
        part = self._rollouts[int(features[0, 0, 0])][features[:, 0, 1]]
        ends = (part.prompt_lengths + part.lengths - 1).tolist()  # no value is asked of the last token
        texts = [ids[:end] for ids, end in zip(part.ids.tolist(), ends, strict=True)]
        base = self.model.get_decoder()
        hidden, layers = base.embed_tokens(part.ids), self.model.config.num_hidden_layers
        states, _ = run_layers(base, hidden, 0, layers, frozenset(), texts, part.states())
        values = part.spread(self.head(base.norm(states).float())[:, 0])
        return nn.functional.pad(values, (0, features.shape[1] - values.shape[1]))

    def warm_up(self, features: Tensor, mask: Tensor, scores: Tensor) -> float:
        """Learn nothing beforehand, as TRL's."""
        return 0.0


def main() -> None:
    build = rollouts.PPO.__init__

    def with_network(ppo, run, spec, config, *more) -> None:
        build(ppo, run, spec, config, *more)
        ppo.value = ValueNetwork(ppo.policy.model, spec.parent).to(ppo.device)
        rollouts.state_features = ppo.value.features_of

    rollouts.PPO.__init__ = with_network
    run_recipe(ppo_main)


if __name__ == "__main__":
    main()
