"""Estimate how fast this machine is from the stages that are over, and so what the next ones will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

TRUST_SECONDS = 5.0  # so much of the planned time is taken as planned until stages have shown otherwise
FOUND_SHARE = 0.1  # a stage that took a smaller share of its time found what stood already, and tells no pace


@dataclass(frozen=True)
class Taken:
    """A stage: the seconds that it was planned for, and what it took, or will by its own progress."""

    planned: float
    took: float


def pace(stages: Sequence[Taken]) -> float:
    """Return how many times longer than planned this machine takes; 1 before it has shown anything."""
    long_enough = [one for one in stages if one.took > FOUND_SHARE * one.planned]
    planned = TRUST_SECONDS + sum(one.planned for one in long_enough)
    return (TRUST_SECONDS + sum(one.took for one in long_enough)) / planned


def seconds_left(
    done: Sequence[Taken], planned: float, spent_seconds: float, own_seconds: float | None, later: Sequence[float]
) -> float:
    """Return the seconds until the whole is done.

    `planned` and `spent` are of the stage under way, `own` is what it still needs by its own progress, None where it
    tells none; `later` are the planned seconds of the stages after it.
    """
    if own_seconds is not None:
        # A stage that has just begun knows little of its end: by as much as it has done it tells the machine's pace.
        current = (
            Taken(planned * spent_seconds / (spent_seconds + own_seconds), spent_seconds)
            if spent_seconds + own_seconds > 0
            else Taken(0.0, 0.0)
        )
        return own_seconds + sum(later) * pace([*done, current] if spent_seconds > FOUND_SHARE * planned else done)
    slow = pace(done)
    if spent_seconds > planned * slow:  # longer than all before it: so may those be that come
        slow = pace([*done, Taken(planned, spent_seconds)])
    return max(planned * slow - spent_seconds, 0.1 * spent_seconds, 5.0) + sum(later) * slow
