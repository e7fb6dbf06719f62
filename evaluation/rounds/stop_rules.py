"""The rules by which rounds stop, and what they can tell. Pure.

The gain of a round is the rating of its model less that of the one before, by the first so many blind votes between
these two. It is read once in each round, when the votes are there. Rounds stop for no gain where the upper end of its
95 % interval is below the gain that the plan names. An interval that holds both 0 and that gain decides nothing, and
the rounds go on: a plan with too few votes stops by its budget alone, and `power` says beforehand how likely that is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from common.distributions import Z95

POINTS = 400.0 / math.log(10.0)  # rating points for one in log-odds


@dataclass(frozen=True)
class Gain:
    """Rating points of a model over the one before, with a 95 % interval over votes; its ends are None where the votes
    allow none (nearly all are one person's). `left_out`: votes given until the last of them that do not count (held,
    withdrawn or excluded)."""

    votes: int
    value: float
    lower: float | None
    upper: float | None
    left_out: int = 0  # gains of earlier versions have none

    def excludes(self, gain: float) -> bool:
        """Return whether a gain of that size is beyond what the votes allow."""
        return self.upper is not None and self.upper < gain

    @property
    def is_found(self) -> bool:
        return self.lower is not None and self.lower > 0


def from_json(row: dict[str, Any]) -> Gain:
    return Gain(row["votes"], row["value"], row["lower"], row["upper"], row.get("left_out", 0))


def standard_error(votes: int) -> float:
    """Return the standard error, in points, of the difference of two alike models by decisive votes of as many
    people: log-odds have 4/n."""
    return POINTS * 2 / math.sqrt(votes)


def power(votes: int, gain: float) -> float:
    """Return how likely a round that gains nothing is told by that: the upper end falls below `gain`. Ties make it
    likelier, and people who vote often less likely."""
    return 0.5 * (1 + math.erf((gain / standard_error(votes) - Z95) / math.sqrt(2)))


def has_drifted(accuracy: float, floor: float | None) -> bool:
    """Return whether a reward model's accuracy on the newest answers is below the floor. The estimate counts, not its
    interval: a brake that waits for certainty comes late."""
    return floor is not None and accuracy < floor
