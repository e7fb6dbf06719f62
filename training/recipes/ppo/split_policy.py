"""Hold a policy and its reference in shares: each process its part of the weights (`training.recipes.common.sharding`).

Forwards run inside the root, whose weights are whole there; every forward is one of all processes. Layers are
transformers' own: packed ones read weights directly, which a split model gathers for its own forward alone.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from training.recipes.common import sharding
from training.rl.policy import Policy
from training.rl.rollout import Rollout


class SplitPolicy(Policy):
    """Split a whole model, and the copy that is its reference where every weight learns."""

    def __init__(self, model: Any, adapters: str, **options: Any) -> None:
        super().__init__(model, adapters, **options)
        self.packed = False
        for part in (model, self.reference):
            if part is not None:
                sharding.shard(part)
                sharding.reshard_always(part)
        self._learning = super().parameters()

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the shares. While weights are gathered, the model itself names the whole ones."""
        return dict(self._learning)

    def lower(
        self, rollout: Rollout, keep: frozenset[int] = frozenset(), states: dict[int, Tensor] | None = None
    ) -> tuple[Tensor, dict[int, Tensor]]:
        run = super().lower
        return sharding.call(lambda _model: run(rollout, keep, states), self.model)

    def logprobs(self, lower: Tensor, rollout: Rollout, *, entropies: bool = False) -> tuple[Tensor, Tensor]:
        run = super().logprobs
        return sharding.call(lambda _model: run(lower, rollout, entropies=entropies), self.model)

    def reference_logprobs(
        self, lower: Tensor, rollout: Rollout, keep: frozenset[int]
    ) -> tuple[Tensor, dict[int, Tensor]]:
        run = super().reference_logprobs
        model = self.model if self.reference is None else self.reference
        return sharding.call(lambda _model: run(lower, rollout, keep), model)
