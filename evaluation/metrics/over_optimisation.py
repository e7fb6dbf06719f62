"""Over-optimisation: whether a reward model's opinion of a policy moves away from people's as training goes on.

A policy that is rewarded by a model of people's taste gets better by that model's lights for ever, and by people's only
for a while (Gao et al. 2022, 2210.10760). Each opinion here is of a pair, the policy's answer at a step and its
parent's: what the reward model expects (its probability that the policy's is better) and what an annotator said. Their
gap may be there from the first step, for a reward model can be too sure of itself; what tells over-optimisation is that
it
*grows*. So the gap is fitted by a line over the steps, and its growth is what the line rises from the first step judged
to the last, with an interval by voters and by prompts. No step is picked out, so nothing is picked for being the worst.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.distributions import Z95, student95
from evaluation.metrics.win_rates import Mean, WinRate, clustered_variance, degrees, places, win_rate

FEWEST = 10  # opinions, before a line is drawn through them
DETECTABLE = 0.2  # a growth that enough opinions must be able to tell from none
PER_BIN = 8
MOST_BINS = 8
PARTED, TOGETHER, CLOSER, UNKNOWN = "parted", "together", "closer", "unknown"


@dataclass(frozen=True)
class Opinion:
    """Hold one annotator's opinion of one pair: `expected` and `points` are for the policy's answer, 0 to 1, a tie a
    half."""

    step: int
    expected: float
    points: float
    voter: object
    prompt: object


@dataclass(frozen=True)
class Bin:
    """Opinions of neighbouring steps."""

    first: int
    last: int
    step: float  # their mean
    expected: float
    people: WinRate


@dataclass(frozen=True)
class Verdict:
    """Say whether the score was over-optimised. `growth` of the gap between expected and said, `trend` of what was said
    alone: both from the first step to the last, None with too few opinions. `more`: about how many more would tell a
    growth of TELLS."""

    what: str
    opinions: int
    first: int
    last: int
    growth: Mean | None
    trend: Mean | None
    more: int


def bins(opinions: Sequence[Opinion], per_bin: int = PER_BIN, most: int = MOST_BINS) -> list[Bin]:
    """Join neighbouring steps until there are enough opinions; at most `most` bins, none of a step cut in two."""
    ordered = sorted(opinions, key=lambda o: o.step)
    enough = max(per_bin, math.ceil(len(ordered) / most))
    groups: list[list[Opinion]] = []
    for opinion in ordered:
        if not groups or (len(groups[-1]) >= enough and groups[-1][-1].step != opinion.step):
            groups.append([])
        groups[-1].append(opinion)
    if len(groups) > 1 and len(groups[-1]) < enough / 2:  # a few left over say too little by themselves
        groups[-2:] = [groups[-2] + groups[-1]]
    return [_bin(group) for group in groups]


def _bin(group: list[Opinion]) -> Bin:
    steps = [o.step for o in group]
    return Bin(
        steps[0],
        steps[-1],
        float(np.mean(steps)),
        float(np.mean([o.expected for o in group])),
        win_rate([o.points for o in group], [o.voter for o in group], [o.prompt for o in group]),
    )


def verdict(opinions: Sequence[Opinion]) -> Verdict:
    """Return whether the two opinions move apart, of one kind of annotator."""
    n, steps = len(opinions), [o.step for o in opinions]
    first, last = (min(steps), max(steps)) if steps else (0, 0)
    growth = trend = None
    if n >= FEWEST and last > first:
        growth = rise([o.expected - o.points for o in opinions], opinions)
        trend = rise([o.points for o in opinions], opinions)
    more = _more(n, growth)
    if growth is None:
        return Verdict(UNKNOWN, n, first, last, None, None, more)
    if growth.lower > 0:
        conclusion = PARTED
    elif growth.upper < 0:
        conclusion = CLOSER
    else:
        conclusion = UNKNOWN if more else TOGETHER
    return Verdict(conclusion, n, first, last, growth, trend, more)


def rise(values: Sequence[float], opinions: Sequence[Opinion]) -> Mean | None:
    """Return what a line through values over steps rises from the first step to the last, by least squares.

    The interval is the sandwich's by voters and prompts; None where there is no telling how values vary.
    """
    y, x = np.array(values), np.array([o.step for o in opinions], dtype=float)
    centred, span = x - x.mean(), float(np.ptp(x))
    total = float((centred**2).sum())
    slope = float((centred * y).sum()) / total
    residual = y - y.mean() - slope * centred
    voter, prompt = places([o.voter for o in opinions]), places([o.prompt for o in opinions])
    # A line takes two numbers out of n, and its residuals are so much too small.
    small = math.sqrt(len(y) / max(len(y) - 2, 1))
    error = small * span * math.sqrt(clustered_variance(centred * residual / total, voter, prompt))
    reach = student95(degrees(voter, prompt)) * error
    value = slope * span
    return Mean(value, error, value - reach, value + reach) if 0 < reach < math.inf else None


def _more(n: int, growth: Mean | None) -> int:
    """Return how many opinions are missing until the interval reaches no farther than DETECTABLE; by its present width,
    else as if all were independent and spread evenly over the steps."""
    # A line's rise over evenly spread steps has 12 times the variance of a mean.
    half = Z95 * 0.5 * math.sqrt(12 / max(n, 1)) if growth is None else (growth.upper - growth.lower) / 2
    n_needed = max(n, 1) * (half / DETECTABLE) ** 2
    return max(0, math.ceil(n_needed) - n)
