"""More votes at once from one place than nearly ever before: by their place in their own ten minutes.

The k-th vote of one address within ten minutes is compared with all votes of the days before: p is the share of those
that were as far along in theirs. Were today's honest votes drawn from the same days, at most ALPHA of them would have
p ≤ ALPHA, whatever the distribution, classrooms included (a conformal test: Vovk et al., 2005).
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

import numpy as np
from django.utils import timezone

from annotate.actions.defence import settled
from annotate.models import Hold, Project, Status, VoteTrace
from annotate.visitors import WINDOW_SECONDS
from evaluation.arena_votes import MOST

ALPHA = 0.001
DAYS, RECENT = 14, timedelta(days=1)
FEWEST = 20  # votes in ten minutes, below which nothing is a flood


def changes(project: Project) -> tuple[list[int], list[int]]:
    """(ids of votes of the last day to hold, ids to release) as the days before have it."""
    now = timezone.now()
    rows = list(
        VoteTrace.objects.filter(project=project, cast_at__gt=now - timedelta(days=DAYS))
        .exclude(address="")
        .order_by("-cast_at", "-id")
        .values_list("address", "cast_at", "held_for", "battle__comparison", "battle__comparison__status")[:MOST]
    )
    rows.reverse()
    if not rows:
        return [], []
    at = np.array([row[1].timestamp() for row in rows])
    place = places([row[0] for row in rows], at)
    is_past, is_flood = at < (now - RECENT).timestamp(), np.array([row[2] == Hold.FLOOD for row in rows])
    flooded = is_flooding(place, place[is_past & ~is_flood]) & ~is_past
    hold = [row[3] for row, much in zip(rows, flooded, strict=True) if much and row[3] and row[4] == Status.COUNTED]
    ebbed = zip(rows, ~flooded & is_flood & ~is_past, strict=True)
    release = [row[3] for row, over in ebbed if over and row[3] and row[4] == Status.HELD]
    decided = _settled([*hold, *release])
    return [pk for pk in hold if pk not in decided], [pk for pk in release if pk not in decided]


def places(address: list[str], at: np.ndarray) -> np.ndarray:
    """(N,) 1 for the first vote of its address within WINDOW_SECONDS, 2 for the next, …; times ascend."""
    found, mine = np.zeros(len(at), dtype=np.int64), defaultdict(list)
    for index, name in enumerate(address):
        mine[name].append(index)
    for indices in mine.values():
        times = at[indices]
        found[indices] = np.arange(len(times)) - np.searchsorted(times, times - WINDOW_SECONDS, side="right") + 1
    return found


def is_flooding(place: np.ndarray, before: np.ndarray) -> np.ndarray:
    """(N,) which votes are further along than all but ALPHA of those before; none while too few are known."""
    as_far = len(before) - np.searchsorted(np.sort(before), place, side="left")
    return ((1 + as_far) / (1 + len(before)) <= ALPHA) & (place >= FEWEST)


def _settled(ids: list[int]) -> set[int]:
    return {pk for first in range(0, len(ids), 500) for pk in settled(ids[first : first + 500])}
