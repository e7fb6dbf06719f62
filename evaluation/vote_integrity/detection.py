"""Who votes unlike everybody else, looked for again and again: their votes are held, and released when that changes.

Whom to hold says ratings/suspects.py, and floods.py of votes that come too many at once; here it is done, by the
background worker, with a reason on each vote and a line in the ledger. What a person has decided, the software leaves
alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Max

from annotate.arena.vote_guard import actions as vote_guard
from annotate.arena.vote_guard import duplicates
from annotate.core import counting
from annotate.models import Comparison, HeldWatch, Hold, Project, StatusChange, VoteTrace
from evaluation.vote_integrity import bursts, hold_rate, linked_voters
from evaluation.vote_integrity.arena_votes import read
from evaluation.vote_integrity.suspects import SHARES, changes

log = logging.getLogger("assay.defence")
ALPHA = 0.01  # of honest voters that may ever be held by any of these, at most
assert sum(SHARES.values()) + bursts.ALPHA + duplicates.ALPHA <= ALPHA + 1e-9


@dataclass(frozen=True)
class Found:
    """What a look has changed: votes held by kind, and votes released."""

    held: dict[str, list[int]]
    released: list[int]


def periodic_task() -> bool:
    """Do the periodic task: every project whose votes have changed since the last look."""
    for project in Project.objects.filter(vote_traces__isnull=False).distinct():
        try:
            look_if_changed(project)
        except Exception:  # the edge of a process: one project's trouble is not another's
            log.exception("the votes of %s could not be looked at", project.slug)
    return False


def forget() -> bool:
    """What is kept of addresses, and of counts of tries, only as long as it serves."""
    vote_guard.forget_addresses()
    counting.forget()
    return False


def look_if_changed(project: Project) -> Found | None:
    watch, _ = HeldWatch.objects.get_or_create(project=project)
    state = _state(project)
    found = None
    if watch.looked_state != state:
        found = look(project)
        HeldWatch.objects.filter(project=project).update(looked_state=_state(project) if not found.held else "")
    hold_rate.look(project)
    return found


def look(project: Project) -> Found:
    """Judge everybody anew, hold what is to be held and release what is not."""
    votes = read(project)
    held, released = changes(votes)
    flooded, ebbed = bursts.changes(project, votes)
    known = {pk for some in held.values() for pk in some}
    held |= {Hold.FLOOD: [pk for pk in flooded if pk not in known]}
    found = _done(held, [*released, *ebbed])
    followed = _done(*linked_voters.changes(project))
    every = found.held.keys() | followed.held.keys()
    held = {kind: [*found.held.get(kind, ()), *followed.held.get(kind, ())] for kind in every}
    found = Found(held, found.released + followed.released)
    if found.held:
        hold_rate.tell_of_holds(project, found.held)
    return found


def _done(held: dict[str, list[int]], released: list[int]) -> Found:
    """Another background worker may have come first: what it holds it tells."""
    held = {kind: ids for kind, ids in held.items() if vote_guard.hold(rows=_rows(ids), kind=kind)}
    vote_guard.release(rows=_rows(released))
    return Found(held, released)


def _rows(ids: Iterable[int]) -> list[Comparison]:
    ids, found = list(ids), list[Comparison]()
    for first in range(0, len(ids), 500):
        found += Comparison.objects.filter(pk__in=ids[first : first + 500]).select_related("project")
    return found


def _state(project: Project) -> str:
    """Another one after each vote and each change of a status."""
    last = VoteTrace.objects.filter(project=project).aggregate(last=Max("pk"))["last"]
    changed = StatusChange.objects.aggregate(last=Max("pk"))["last"]
    return f"{last}:{changed}"
