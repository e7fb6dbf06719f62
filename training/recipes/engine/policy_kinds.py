"""Hold a policy and its reference where weights are not simply what multiplies.

split      each process has its part of the weights (`training.recipes.common.sharding`). Forwards run inside the root,
           whose weights are whole there; every forward is one of all processes. Layers are transformers' own: packed
           ones read weights directly, which a split model gathers for its own forward alone
rounded    every weight learns in float32 masters, and the model multiplies by copies in the machine's dtype, as in SFT
           (`fp32_master_weights`). Where that is float32, weights are their own masters. A process that draws alone
           has none: weights that it is handed are rounded as it copies them, to the same bits
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from training.recipes.common import loading, sharding
from training.recipes.common.fp32_master_weights import Masters
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

    def parameters(self) -> Mapping[str, Tensor]:
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


class RoundedPolicy(Policy):
    """Hold a policy of whose weights all learn. The reference is a copy of what the policy multiplies by at first."""

    def __init__(self, model: Any, adapters: str, *, with_reference: bool = True, **options: Any) -> None:
        self.masters = Masters(dict(model.named_parameters()), loading.compute_dtype())
        if not with_reference:
            self.masters.masters = dict(self.masters.trained)
        super().__init__(model, adapters, with_reference=with_reference, **options)

    def parameters(self) -> Mapping[str, Tensor]:
        return dict(self.masters.masters)

    def collect(self) -> None:
        self.masters.collect()

    def publish(self) -> None:
        self.masters.publish()
