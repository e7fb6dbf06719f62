"""Detect that a share has jumped: a test at every vote, with few false alarms however long it runs.

Votes are x = 1 (held) or 0, and `usual` is the share above which holds would be news. For an alternative with odds t
times as high, the likelihood ratio (1 − x + x·t) / (1 − p + p·t) has mean at most 1 while the share is at most p. The
statistic of Shiryaev and Roberts, R ← (R + 1) · ratio, sums the evidence over every moment at which the jump may have
begun; R less the number of votes then falls on average, so that it reaches `EVERY` after no fewer than EVERY votes on
average (an e-detector: Shin, Ramdas & Rinaldo, 2024). That holds for the average over several t too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

EVERY = 100_000  # votes between two false alarms, on average, at the least
TIMES = np.array([2.0, 5.0, 20.0])  # of the usual odds
FLOOR = 0.03  # a share of holds below this is no news
PRIOR_VOTES = 100  # as which the floor counts while little is known


def watch(held: Iterable[bool], usual: float, evidence: Sequence[float] = ()) -> tuple[list[float], int | None]:
    """Return the evidence after these votes, and the index of the vote that raised the alarm; after it the test begins
    anew.

    Raises ValueError on a share outside (0, 1).
    """
    if not 0 < usual < 1:
        raise ValueError(f"the usual share is between 0 and 1: got {usual}.")
    sums = np.array(evidence) if len(evidence) == len(TIMES) else np.zeros(len(TIMES))
    if_held, if_not = TIMES / (1 - usual + usual * TIMES), 1 / (1 - usual + usual * TIMES)
    alarm = None
    for index, is_held in enumerate(held):
        sums = (sums + 1) * (if_held if is_held else if_not)
        if sums.mean() >= EVERY:
            alarm, sums = (index if alarm is None else alarm), np.zeros(len(TIMES))
    return sums.tolist(), alarm


def usual_share(held: int, votes: int) -> float:
    """Return the share that past votes allow: theirs plus two standard errors; the floor counts as PRIOR_VOTES more
    votes."""
    n = votes + PRIOR_VOTES
    share = (held + FLOOR * PRIOR_VOTES) / n
    return min(max(share + 2 * math.sqrt(share * (1 - share) / n), FLOOR), 0.99)
