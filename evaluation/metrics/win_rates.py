"""Win rates: the share of points, a tie as half of one, with an interval that knows who judged and what was asked.

Votes of one voter hang together, and so do votes on one prompt. Each vote's pull on the figure, its *influence*, is
therefore summed within voters and within prompts before it is squared: V = V_voters + V_prompts − V_both (Cameron,
Gelbach and Miller, 2011, 10.1198/jbes.2010.07136), each with G/(G−1). The interval is Wilson's at the number of
independent votes that would have this variance, with Student's quantile at the effective number of groups less one:
it stays within 0 and 1, and has a width where everybody said the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.distributions import student95

Array = NDArray[np.float64]
Labels = Sequence[object] | NDArray
ROUNDING = 1e-18  # of the variance of votes that hang together in nothing


@dataclass(frozen=True)
class WinRate:
    """Hold a win rate with its interval: `n` votes of `voters` people on `prompts` prompts; `ties` counts what gave
    half a point."""

    value: float
    standard_error: float
    lower: float  # 95 %
    upper: float
    n: int
    voters: int
    prompts: int
    wins: int
    ties: int
    losses: int

    @property
    def is_decided(self) -> bool:
        return not self.lower <= 0.5 <= self.upper


def win_rate(points: Sequence[float] | Array, voters: Labels, prompts: Labels) -> WinRate:
    """Return the win rate with its interval. `points` (n,) lie in 0 to 1: 1 for a win, a half for a tie, or a mean of
    such. `voters`, `prompts` are labels.

    With a single voter nothing can be said about voters in general, and the interval is over prompts alone.
    Raises ValueError without votes, and for points outside 0 to 1.
    """
    y = np.asarray(points, dtype=float)
    if not len(y):
        raise ValueError("a win rate needs at least one vote.")
    if not np.all((y >= 0) & (y <= 1)):
        raise ValueError(f"points must lie between 0 and 1, not {y[(y < 0) | (y > 1)][0]:g}.")
    voter, prompt = places(voters), places(prompts)
    value = float(y.mean())
    variance = clustered_variance((y - value) / len(y), voter, prompt)
    lower, upper = _interval(value, variance, student95(max(degrees(voter, prompt), 1)), effective(voter, prompt))
    return WinRate(
        value,
        math.sqrt(variance),
        lower,
        upper,
        len(y),
        int(voter.max()) + 1,
        int(prompt.max()) + 1,
        int((y > 0.5).sum()),
        int((y == 0.5).sum()),
        int((y < 0.5).sum()),
    )


@dataclass(frozen=True)
class Mean:
    value: float
    standard_error: float
    lower: float  # 95 %
    upper: float


def clustered_mean(values: Array, voters: Labels, prompts: Labels) -> Mean | None:
    """Return the mean of values (n,) such as paired differences, with Student's interval at the effective number of
    groups less one; None where they do not vary between groups, or there is but one."""
    voter, prompt = places(voters), places(prompts)
    value = float(np.mean(values))
    error = math.sqrt(clustered_variance((values - value) / len(values), voter, prompt))
    reach = student95(degrees(voter, prompt)) * error
    return Mean(value, error, value - reach, value + reach) if 0 < reach < math.inf else None


def places(labels: Labels) -> NDArray[np.int64]:
    """Number the labels from 0 in the order they come."""
    index_of: dict[object, int] = {}
    return np.array([index_of.setdefault(label, len(index_of)) for label in labels], dtype=np.int64)


def clustered_variance(influence: Array, voter: NDArray[np.int64], prompt: NDArray[np.int64]) -> float:
    """Return the variance of a sum of influences (n,), whose groups are drawn whole; never below either way's own. What
    rounding leaves of groups that are all alike is 0."""
    variances = [_one_way(influence, group) for group in (voter, prompt)]
    if min(int(voter.max()), int(prompt.max())) > 0:
        voter_and_prompt = np.unique(np.stack([voter, prompt]), axis=1, return_inverse=True)[1].ravel()
        variances.append(sum(variances) - _one_way(influence, voter_and_prompt))
    variance = max(variances)
    return variance if variance > ROUNDING * float((influence**2).sum()) else 0.0


def _one_way(influence: Array, group: NDArray[np.int64]) -> float:
    """Return the variance by one grouping. Of one group alone nothing can be told about groups: it adds nothing."""
    groups = int(group.max()) + 1
    if groups < 2:
        return 0.0
    sums = np.bincount(group, weights=influence)
    return float(groups / (groups - 1) * (sums**2).sum())


def effective(voter: NDArray[np.int64], prompt: NDArray[np.int64]) -> float:
    """Return how many groups with equally many votes would leave one as unsure (Kish, 1965): of voters or of
    prompts."""
    sizes = [np.bincount(group) for group in (voter, prompt) if group.max() > 0]
    return min((float(n.sum()) ** 2 / float((n**2).sum()) for n in sizes), default=1.0)


def degrees(voter: NDArray[np.int64], prompt: NDArray[np.int64]) -> float:
    return effective(voter, prompt) - 1


def _interval(value: float, variance: float, z: float, groups: float) -> tuple[float, float]:
    """Return Wilson's interval (1927) with as many votes as have this variance; where all groups agree, with one vote a
    group."""
    spread = value * (1 - value)
    n = spread / variance if variance > 0 and spread > 0 else groups
    middle = (value + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(spread / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)
