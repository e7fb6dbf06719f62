"""How long one side waits for the other. All of it follows from the length of a lease (RUN_LEASE_SECONDS)."""

from __future__ import annotations

from dataclasses import dataclass

from training.core.parent_watchdog import GRACE_SECONDS

_WATCHDOG_GRACE = 5.0  # of a recipe whose process on the node was killed: `parent_watchdog.watch_parent`
_SLACK = 5.0  # for file systems that show a new file late, and for processes that are started


@dataclass(frozen=True)
class Timing:
    lease: float

    @property
    def patience(self) -> float:
        """Return how long a recipe goes on without a heartbeat: a lease, and another in which a worker may adopt it."""
        return 2 * self.lease

    @property
    def orphan_grace(self) -> float:
        """Return the seconds that a recipe has to end when nobody looks after it, or another attempt has begun."""
        return min(GRACE_SECONDS, 0.15 * self.lease)

    @property
    def silence(self) -> float:
        """Return for how long a node may say nothing before the cluster is asked about it."""
        return max(3.0, self.lease / 2)

    @property
    def surely_over(self) -> float:
        """Return when a recipe is surely over, counted from when nobody beat for it any more, or a later attempt's
        number was written: whether its node still reads the run directory or not."""
        return self.patience + self.orphan_grace + _WATCHDOG_GRACE + self.patience / 10 + _SLACK
