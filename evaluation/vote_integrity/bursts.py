"""More votes at once from one place than nearly ever before: by their place in their own ten minutes.

The k-th vote of one address within ten minutes is compared with all votes of the days before: p is the share of those
that were as far along in theirs. Were today's honest votes drawn from the same days, at most ALPHA of them would have
p ≤ ALPHA, whatever the distribution, classrooms included (a conformal test: Vovk et al., 2005).

The first class of a quiet arena is no such day. So a flood is let through that says of the models what all others say:
a bet that it does (`agreement`) multiplies what is staked by AGREED. Of floods that know nothing of the models, at most
one in AGREED gets there; those for one model are looked for apart (`ratings/suspects`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
from django.db.models import QuerySet
from django.utils import timezone

from annotate.arena.vote_guard.actions import settled
from annotate.core.visitors import WINDOW_SECONDS
from annotate.models import Comparison, Hold, Project, Status, VoteTrace
from evaluation.leaderboard.votes.vote_blocks import SAID
from evaluation.ratings.bradley_terry import fit, sigmoid
from evaluation.ratings.voter_clusters import SCORE
from evaluation.vote_integrity.arena_votes import MOST
from evaluation.vote_integrity.suspects import Votes

ALPHA = 0.001
DAYS, RECENT = 14, timedelta(days=1)
FEWEST = 20  # votes in ten minutes, below which nothing is a flood
AGREED = 1_000
KNOWN = 100  # votes of others, below which nobody knows what they say


def changes(project: Project, votes: Votes) -> tuple[list[int], list[int]]:
    """Return (ids of votes of the last day to hold, ids to release) as the days before have it. `votes` say what all
    say."""
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
    agreed = _agreed({rows[k][0] for k in np.flatnonzero(flooded)}, project, votes)
    flooded &= np.array([row[0] not in agreed for row in rows])
    hold = [row[3] for row, much in zip(rows, flooded, strict=True) if much and row[3] and row[4] == Status.COUNTED]
    ebbed = zip(rows, ~flooded & is_flood & ~is_past, strict=True)
    release = [row[3] for row, over in ebbed if over and row[3] and row[4] == Status.HELD]
    decided = _settled([*hold, *release])
    return [pk for pk in hold if pk not in decided], [pk for pk in release if pk not in decided]


def agreement(odds: np.ndarray, score: np.ndarray) -> float:
    """Log wealth of a bet that scores (N,) of A follow what others expect, as log-odds; ties neither win nor lose.

    Where they do not, and sides are drawn by lot, it grows to log(c) with probability 1/c at most (Ville, 1939).
    """
    return float(np.log1p(0.99 * (2 * sigmoid(odds) - 1) * (2 * score - 1)).sum())


def _agreed(addresses: set[str], project: Project, votes: Votes) -> set[str]:
    """Of these addresses those whose votes of the last day say what all others say."""
    if not addresses:
        return set()
    here = VoteTrace.objects.filter(project=project, address__in=addresses, cast_at__gt=timezone.now() - RECENT)
    cast = _cast(here)
    others = votes.only((votes.held == 0) & ~np.isin(votes.vote, [pk for _, pk, *_ in cast]))
    if len(others.vote) < KNOWN:
        return set()
    odds = dict(zip(others.models, fit(others.tally).log_odds.tolist(), strict=True))
    found = defaultdict[str, list[tuple[float, float]]](list)
    for address, _, a, b, said in cast:
        if a in odds and b in odds:
            found[address].append((odds[a] - odds[b], SCORE[said]))
    return {name for name, some in found.items() if agreement(*np.array(some).T) >= math.log(AGREED)}


def _cast(traces: QuerySet[VoteTrace]) -> Sequence[tuple[str, int, int, int, int]]:
    """Return (address, vote, model A, model B, what was said) of each."""
    of = "battle__comparison"
    addresses = dict(traces.exclude(**{of: None}).values_list(of, "address"))
    rows = Comparison.objects.filter(battle__trace__in=traces).annotate(said=SAID)
    columns = rows.values_list("pk", "battle__model_a", "battle__model_b", "said")
    return [(addresses[pk], pk, a, b, said) for pk, a, b, said in columns if pk in addresses]


def places(address: list[str], at: np.ndarray) -> np.ndarray:
    """Return (N,) 1 for the first vote of its address within WINDOW_SECONDS, 2 for the next, …; times ascend."""
    found, mine = np.zeros(len(at), dtype=np.int64), defaultdict(list)
    for index, name in enumerate(address):
        mine[name].append(index)
    for indices in mine.values():
        times = at[indices]
        found[indices] = np.arange(len(times)) - np.searchsorted(times, times - WINDOW_SECONDS, side="right") + 1
    return found


def is_flooding(place: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return (N,) which votes are further along than all but ALPHA of those before; none while too few are known."""
    as_far = len(before) - np.searchsorted(np.sort(before), place, side="left")
    return ((1 + as_far) / (1 + len(before)) <= ALPHA) & (place >= FEWEST)


def _settled(ids: list[int]) -> set[int]:
    return {pk for first in range(0, len(ids), 500) for pk in settled(ids[first : first + 500])}
