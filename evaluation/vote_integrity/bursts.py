"""Hold votes that come faster from one address than nearly ever before, by their rank within ten minutes.

The k-th vote of one address within ten minutes is compared with all votes of the days before: p is the share of those
that were as far along in theirs. Were today's honest votes drawn from the same days, at most ALPHA of them would have
p ≤ ALPHA, whatever the distribution, classrooms included (a conformal test: Vovk et al., 2005).

The first class of a quiet arena is no such day. So a flood is let through that says of the models what all others say:
a bet that it does (`agreement`) multiplies what is staked by AGREED. Of floods that know nothing of the models, at most
one in AGREED gets there; those for one model are looked for apart (`suspects`).
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
    """Return (ids of votes of the last day to hold, ids to release), measured by the days before. `votes` are all
    votes."""
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
    burst_ranks = ranks_in_burst([row[0] for row in rows], at)
    is_past, is_flood = at < (now - RECENT).timestamp(), np.array([row[2] == Hold.FLOOD for row in rows])
    flooded = is_flooding(burst_ranks, burst_ranks[is_past & ~is_flood]) & ~is_past
    agreed = _agreed({rows[k][0] for k in np.flatnonzero(flooded)}, project, votes)
    flooded &= np.array([row[0] not in agreed for row in rows])
    hold = [
        row[3] for row, is_burst in zip(rows, flooded, strict=True) if is_burst and row[3] and row[4] == Status.COUNTED
    ]
    ebbed = zip(rows, ~flooded & is_flood & ~is_past, strict=True)
    release = [row[3] for row, over in ebbed if over and row[3] and row[4] == Status.HELD]
    decided = _settled([*hold, *release])
    return [pk for pk in hold if pk not in decided], [pk for pk in release if pk not in decided]


def agreement_log_e(odds: np.ndarray, score: np.ndarray) -> float:
    """Return the log wealth of a bet that the scores (N,) of A follow the others' ratings (log-odds); ties change
    nothing.

    Where they do not, and sides are drawn by lot, it grows to log(c) with probability 1/c at most (Ville, 1939).
    """
    return float(np.log1p(0.99 * (2 * sigmoid(odds) - 1) * (2 * score - 1)).sum())


def _agreed(addresses: set[str], project: Project, votes: Votes) -> set[str]:
    """Return those of the addresses whose votes of the last day agree with all other votes."""
    if not addresses:
        return set()
    recent_traces = VoteTrace.objects.filter(
        project=project, address__in=addresses, cast_at__gt=timezone.now() - RECENT
    )
    cast = _cast(recent_traces)
    other_votes = votes.only((votes.held == 0) & ~np.isin(votes.vote, [pk for _, pk, *_ in cast]))
    if len(other_votes.vote) < KNOWN:
        return set()
    odds = dict(zip(other_votes.models, fit(other_votes.tally).log_odds.tolist(), strict=True))
    rows_by_address = defaultdict[str, list[tuple[float, float]]](list)
    for address, _, a, b, label in cast:
        if a in odds and b in odds:
            rows_by_address[address].append((odds[a] - odds[b], SCORE[label]))
    return {
        name
        for name, address_rows in rows_by_address.items()
        if agreement_log_e(*np.array(address_rows).T) >= math.log(AGREED)
    }


def _cast(traces: QuerySet[VoteTrace]) -> Sequence[tuple[str, int, int, int, int]]:
    """Return (address, vote, model A, model B, label) of each trace that has a vote."""
    vote_lookup = "battle__comparison"
    addresses = dict(traces.exclude(**{vote_lookup: None}).values_list(vote_lookup, "address"))
    rows = Comparison.objects.filter(battle__trace__in=traces).annotate(label=SAID)
    columns = rows.values_list("pk", "battle__model_a", "battle__model_b", "label")
    return [(addresses[pk], pk, a, b, label) for pk, a, b, label in columns if pk in addresses]


def ranks_in_burst(address: list[str], at: np.ndarray) -> np.ndarray:
    """Return (N,) each vote's rank among its address's votes within WINDOW_SECONDS: 1 for the first; times ascend."""
    ranks, indices_by_address = np.zeros(len(at), dtype=np.int64), defaultdict(list)
    for index, name in enumerate(address):
        indices_by_address[name].append(index)
    for indices in indices_by_address.values():
        times = at[indices]
        ranks[indices] = np.arange(len(times)) - np.searchsorted(times, times - WINDOW_SECONDS, side="right") + 1
    return ranks


def is_flooding(ranks: np.ndarray, past_ranks: np.ndarray) -> np.ndarray:
    """Return (N,) whether a vote's rank exceeds all but ALPHA of the past ones; none while too few are known."""
    as_far = len(past_ranks) - np.searchsorted(np.sort(past_ranks), ranks, side="left")
    return ((1 + as_far) / (1 + len(past_ranks)) <= ALPHA) & (ranks >= FEWEST)


def _settled(ids: list[int]) -> set[int]:
    return {pk for first in range(0, len(ids), 500) for pk in settled(ids[first : first + 500])}
