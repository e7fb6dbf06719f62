"""Declare which processes carry out PPO: those that learn, those that draw, and what corrects for drawing by another
policy."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from training.configs.options import nodes_option, option, sharding_option

# Yao 2025 and OpenRLHF truncate the weights of answers from another policy at 2.
IMPORTANCE_CAP = 2.0
KEY_VARIABLE = "ASSAY_ROLLOUT_KEY"  # of the worker: the key of a rollout server
URL_VARIABLE = "ASSAY_ROLLOUT_URL"  # the only address that it goes to


@dataclass(frozen=True)
class RolloutOptions:
    """The options of PPO's processes."""

    processes: int = option(
        1, "processes that share each batch: one per GPU, or several on a CPU", low=1, high=64, advanced=True
    )
    sharding: str = sharding_option()
    nodes: int = nodes_option()
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
        "with actors or a rollout server: steps by which the policy that draws may be behind the one that learns. 1: "
        "they draw while it learns; 0: they wait for each update",
        low=0,
        high=1,
        advanced=True,
    )
    rollout_server: str = option(
        "",
        "address of a rollout server, which draws the answers on another host; empty: none",
        advanced=True,
    )
    rollout_server_lost: str = option(
        "fail",
        "when the rollout server is silent, or its answers are no answers. fail: the run fails and can be resumed; "
        "local: the learner draws the answers of that step itself",
        choices=("fail", "local"),
        advanced=True,
    )
    rollout_timeout: int = option(
        1800,
        "seconds in which an actor, or the rollout server, must draw its part of a step; an actor that takes longer is "
        "started again",
        low=1,
        high=86400,
        advanced=True,
    )
    importance_cap: float | None = option(
        None,
        "the loss of each token is weighted by learner / sampler, truncated at this; empty: "
        f"{IMPORTANCE_CAP:g} with actors or a rollout server, no weights without; 0: no weights",
        low=0,
        high=1e6,
        advanced=True,
    )

    @property
    def weights_cap(self) -> float:
        """Return where importance weights are truncated; 0: there are none."""
        if self.importance_cap is None:
            return IMPORTANCE_CAP if self.draws_apart else 0.0
        return self.importance_cap

    @property
    def steps_behind(self) -> int:
        """Return how many steps the policy that draws may be behind the one that learns."""
        return self.staleness if self.draws_apart else 0

    @property
    def draws_apart(self) -> bool:
        """Return whether others than the learner draw."""
        return bool(self.actors or self.rollout_server)

    def check_rollouts(self) -> dict[str, str]:
        """Return what is wrong with the options of the rollouts."""
        errors = {}
        if self.actors and self.rollout_server:
            errors["rollout_server"] = "draws all answers: leave it out, or set actors to 0."
        elif self.rollout_server and not _is_address(self.rollout_server):
            errors["rollout_server"] = "must be an address such as http://gpu-2:8010, without a name or a password."
        return errors


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a bracket that is not closed, a port that is none
        return False
    return is_whole and "@" not in parts.netloc
