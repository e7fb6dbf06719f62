"""Look at all votes again and again: hold the votes of voters who are unlike all others, release them when that
changes.

Whom to hold says `suspects`, and `bursts` of votes that come too many at once; here it is done, by the background
worker, with a reason on each vote and a line in the ledger. What a person has decided, the software leaves
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
from annotate.core.periodic_tasks import each_alone
from annotate.models import Comparison, HeldWatch, Hold, Project, StatusChange, VoteTrace
from evaluation.vote_integrity import bursts, hold_rate, linked_voters
from evaluation.vote_integrity.arena_votes import read
from evaluation.vote_integrity.suspects import SHARES, changes

log = logging.getLogger("assay.defence")
ALPHA = 0.01  # of honest voters that may ever be held by any of these, at most
assert sum(SHARES.values()) + bursts.ALPHA + duplicates.ALPHA <= ALPHA + 1e-9


@dataclass(frozen=True)
class HoldChanges:
    """Hold what one look changed: ids of held votes by kind, and ids of released votes."""

    held: dict[str, list[int]]
    released: list[int]


def periodic_task() -> bool:
    """Look at every project whose votes have changed since the last look."""
    projects = Project.objects.filter(vote_traces__isnull=False).distinct()
    each_alone(projects, look_if_changed, log, "the votes of %s could not be looked at")
    return False


def forget() -> bool:
    """Delete hashed addresses and counts of tries that are no longer needed."""
    vote_guard.forget_addresses()
    counting.forget()
    return False


def look_if_changed(project: Project) -> HoldChanges | None:
    watch, _ = HeldWatch.objects.get_or_create(project=project)
    state = _state(project)
    changes = None
    if watch.looked_state != state:
        changes = look(project)
        HeldWatch.objects.filter(project=project).update(looked_state=_state(project) if not changes.held else "")
    hold_rate.look(project)
    return changes


def look(project: Project) -> HoldChanges:
    """Examine all voters again, hold the votes that need it, release the votes that do not. Return what was changed."""
    votes = read(project)
    held, released = changes(votes)
    flooded, ebbed = bursts.changes(project, votes)
    held_ids = {pk for ids in held.values() for pk in ids}
    held |= {Hold.FLOOD: [pk for pk in flooded if pk not in held_ids]}
    first_changes = _apply(held, [*released, *ebbed])
    followed = _apply(*linked_voters.changes(project))
    kinds = first_changes.held.keys() | followed.held.keys()
    held = {kind: [*first_changes.held.get(kind, ()), *followed.held.get(kind, ())] for kind in kinds}
    first_changes = HoldChanges(held, first_changes.released + followed.released)
    if first_changes.held:
        hold_rate.warn_of_holds(project, first_changes.held)
    return first_changes


def _apply(held: dict[str, list[int]], released: list[int]) -> HoldChanges:
    """Hold and release these votes; return what changed. Another worker may have held some first: it reports those."""
    held = {kind: ids for kind, ids in held.items() if vote_guard.hold(rows=_rows(ids), kind=kind)}
    vote_guard.release(rows=_rows(released))
    return HoldChanges(held, released)


def _rows(ids: Iterable[int]) -> list[Comparison]:
    ids, rows = list(ids), list[Comparison]()
    for first in range(0, len(ids), 500):
        rows += Comparison.objects.filter(pk__in=ids[first : first + 500]).select_related("project")
    return rows


def _state(project: Project) -> str:
    """Return a text that changes with each vote and each change of a status."""
    last = VoteTrace.objects.filter(project=project).aggregate(last=Max("pk"))["last"]
    changed = StatusChange.objects.aggregate(last=Max("pk"))["last"]
    return f"{last}:{changed}"
