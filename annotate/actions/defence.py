"""Votes of the arena before they count: whether one is held, for what reason, and where it came from."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from django.db import DatabaseError, transaction
from django.utils import timezone

from annotate.actions.feedback import set_status
from annotate.counting import count
from annotate.defence import duplicates, holds, proof_of_work, throttles, told
from annotate.models import Battle, Comparison, Hold, Project, Status, StatusChange, User, VoteTrace
from annotate.permissions import is_vouched_for

log = logging.getLogger("assay.defence")
KEPT_DAYS = 90  # that the hash of an address is kept
OUTAGE_SECONDS = 3600
_AT_ONCE = 25  # rows of one transaction: nobody else writes on SQLite while it lasts


@dataclass(frozen=True)
class Origin:
    """What a request tells of its sender: `visitors.address_of` and `wider_of` it, and the solved puzzle, if any."""

    address: str = ""
    proof: str = ""
    wider: tuple[tuple[str, int], ...] = ()

    @property
    def networks(self) -> tuple[tuple[str, int], ...]:
        """As `visitors.networks_of` has them."""
        return (*([(self.address, 1)] if self.address else []), *self.wider)


NOWHERE = Origin()


def judge_vote(*, battle: Battle, visitor: str, user: User | None, origin: Origin = NOWHERE) -> tuple[str, str]:
    """(status, reason) for a vote that is about to be stored in the same transaction; TooMany above the hard limits.

    Leaves the vote's trace. Simulations are kept apart and are held for nothing but what the battle brought along.
    """
    hold, address = Hold.NAMED if battle.hold_reason else "", ""
    if not (user and user.is_simulated):
        is_member = user is not None and is_vouched_for(user, battle.project)
        address = "" if is_member else origin.address  # members share an office, and answer for what they do
        wider = () if is_member else origin.wider
        busy = throttles.busy(visitor=visitor, user=user, address=address, wider=wider, is_member=is_member)
        hold = (
            hold
            or _puzzle(battle, user, origin.proof)
            or duplicates.repeated(battle, visitor=visitor, user=user, address=address, is_outside=not is_member)
            or (Hold.TOLD if not is_member and told.is_told(battle) else "")
            or busy
        )
    now = timezone.now()
    VoteTrace.objects.create(
        battle=battle, project=battle.project, address=address, held_for=hold, held_at=now if hold else None
    )
    return (Status.HELD, holds.words(hold, battle.hold_reason)) if hold else (Status.COUNTED, "")


def is_outside(user: User | None, project: Project) -> bool:
    """Somebody for whom nobody vouches: a visitor, or whoever has made an account for themselves."""
    return not (user and (user.is_simulated or is_vouched_for(user, project)))


def asks_puzzle(project: Project, user: User | None) -> bool:
    """Whether a vote must bring a solved puzzle. An account that anybody may make for themselves is no reason not to;
    whom somebody has let in answers for what they do."""
    return project.proof_of_work and is_outside(user, project)


def puzzle(battle: Battle, *, user: User | None, address: str, wider: tuple[tuple[str, int], ...] = ()) -> str | None:
    """A challenge for this battle, or None where none is asked for. One that cannot be given is noted, and never stops
    anybody: the vote comes without it, and is held."""
    if not asks_puzzle(battle.project, user):
        return None
    try:
        with transaction.atomic():
            return proof_of_work.issue(str(battle.token), address=address, wider=wider)
    except Exception:  # whatever breaks here must not cost a vote
        log.exception("a puzzle could not be given in %s", battle.project.slug)
        _note_outage(battle.project)
        return None


def hold(*, rows: Collection[Comparison], kind: str) -> int:
    """Hold votes for a reason found afterwards; how many changed."""
    return _in_batches(rows, Status.HELD, holds.words(kind), kind)


def release(*, rows: Collection[Comparison]) -> int:
    """Count them again, where the reason has gone; how many changed."""
    return _in_batches(rows, Status.COUNTED, holds.RELEASED, "")


def outage_key(project: Project) -> str:
    return f"puzzle-outage:{project.pk}"


def forget_addresses() -> int:
    """Old votes keep their reason and lose their address."""
    old = timezone.now() - timedelta(days=KEPT_DAYS)
    return VoteTrace.objects.filter(cast_at__lt=old).exclude(address="").update(address="")


def _puzzle(battle: Battle, user: User | None, proof: str) -> str:
    if not asks_puzzle(battle.project, user):
        return ""
    try:
        return "" if proof_of_work.is_solved(proof, str(battle.token)) else Hold.UNSOLVED
    except Exception:  # the clock, the key, the hash: a vote is never lost to them
        log.exception("a puzzle could not be checked in %s", battle.project.slug)
        _note_outage(battle.project)
        return Hold.PUZZLE_BROKEN


def _note_outage(project: Project) -> None:
    """For the watch, which tells managers."""
    try:
        with transaction.atomic():
            count(outage_key(project), seconds=OUTAGE_SECONDS)
    except DatabaseError:
        log.exception("and it could not be noted")


def _in_batches(rows: Collection[Comparison], status: str, reason: str, kind: str) -> int:
    """What a person has decided in the meantime stands: it is looked up in the transaction of the change."""
    changed, rows = 0, list(rows)
    for first in range(0, len(rows), _AT_ONCE):
        some = rows[first : first + _AT_ONCE]
        with transaction.atomic():
            decided = settled([row.pk for row in some])
            free = [row for row in some if row.pk not in decided]
            changed += set_status(rows=free, status=status, reason=reason, by=None)
            if kind:
                _trace(free, kind)
    return changed


def settled(ids: Collection[int]) -> set[int]:
    """Of these comparisons those about which a person has decided: the software leaves them alone from then on."""
    by_people = StatusChange.objects.filter(
        kind=Comparison._meta.model_name, feedback_id__in=list(ids), by__isnull=False
    )
    return set(by_people.values_list("feedback_id", flat=True))


def _trace(rows: Collection[Comparison], kind: str) -> None:
    now, battles = timezone.now(), [row.battle_id for row in rows if row.battle_id]
    known = set(VoteTrace.objects.filter(battle__in=battles).values_list("battle_id", flat=True))
    VoteTrace.objects.filter(battle__in=known).update(held_for=kind, held_at=now)
    VoteTrace.objects.bulk_create(  # of votes that are older than traces
        VoteTrace(battle_id=row.battle_id, project_id=row.project_id, held_for=kind, held_at=now)
        for row in rows
        if row.battle_id and row.battle_id not in known
    )
