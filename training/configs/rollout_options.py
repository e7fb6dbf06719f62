"""Declare which processes carry out PPO: those that learn, those that draw, and what corrects for drawing by another
policy."""

from __future__ import annotations

from dataclasses import dataclass

from training.configs.options import option, sharding_option

# Yao 2025 and OpenRLHF truncate the weights of answers from another policy at 2.
IMPORTANCE_CAP = 2.0


@dataclass(frozen=True)
class RolloutOptions:
    """The options of PPO's processes."""

    processes: int = option(
        1, "processes that share each batch: one per GPU, or several on a CPU", low=1, high=64, advanced=True
    )
    sharding: str = sharding_option()
    actors: int = option(
        0,
        "processes that draw the answers, apart from the one that learns; each loads the model. 0: the learner draws "
        "them itself, between its updates",
        low=0,
        high=64,
        advanced=True,
    )
    staleness: int = option(
        1,
        "with actors: steps by which the policy that draws may be behind the one that learns. 1: they draw while it "
        "learns; 0: they wait for each update",
        low=0,
        high=1,
        advanced=True,
    )
    importance_cap: float | None = option(
        None,
        "the loss of each token is weighted by learner / sampler, truncated at this; empty: "
        f"{IMPORTANCE_CAP:g} with actors, no weights without; 0: no weights",
        low=0,
        high=1e6,
        advanced=True,
    )

    @property
    def weights_cap(self) -> float:
        """Return where importance weights are truncated; 0: there are none."""
        if self.importance_cap is None:
            return IMPORTANCE_CAP if self.actors else 0.0
        return self.importance_cap

    @property
    def steps_behind(self) -> int:
        """Return how many steps the policy that draws may be behind the one that learns."""
        return self.staleness if self.actors else 0
