"""Decide whether a vote of the arena is held before it counts, for what reason, and store where it came from."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, transaction
from django.utils import timezone

from annotate.arena.vote_guard import disclosed_answers, duplicates, proof_of_work
from annotate.core.counting import count
from annotate.core.permissions import is_vouched_for
from annotate.core.visitors import BATTLES_PER_ADDRESS, BATTLES_PER_PERSON, Networks, bound
from annotate.labelling.actions import set_status
from annotate.models import Battle, Comparison, Hold, Project, Status, StatusChange, User, VoteTrace

log = logging.getLogger("assay.defence")
OUTAGE_SECONDS = 3600
_AT_ONCE = 25  # rows of one transaction: nobody else writes on SQLite while it lasts

# How many votes at once are usual: above the soft limits votes are held, above the hard ones nothing is taken.
HELD_ABOVE_PER_PERSON = 50  # in visitors.WINDOW_SECONDS: one in twelve seconds, all the time
HELD_ABOVE_PER_ADDRESS = 450  # a class of thirty that votes every twenty seconds
MOST_PER_PERSON, MOST_PER_ADDRESS = BATTLES_PER_PERSON, BATTLES_PER_ADDRESS
WITHOUT_END = 10**9

# What whoever cast a held vote is told: what was seen, and no accusation. It goes on after "this vote is held:", see
# `annotate.arena.battles.votes.counting`.
WORDS = {
    Hold.UNSOLVED: "the vote came without the solution of the small puzzle that your browser solves",
    Hold.PUZZLE_BROKEN: "the server could not check the puzzle; this is not your fault, and the vote is kept",
    Hold.BUSY_VISITOR: "you sent many votes in a short time",
    Hold.BUSY_ADDRESS: "many votes came from one address in a short time; others may share it",
    Hold.REPEAT: "you have voted on this question and these two models before",
    Hold.SAME_ITEM: "there are votes on this question and these two models already, from this address or from other "
    "sessions",
    Hold.TOLD: "somebody was shown before which model wrote one of these answers",
    Hold.FLOOD: "unusually many votes came at once from one place",
    Hold.PATTERN: "these votes differ from all others more than preferences explain",
    Hold.ADDRESS_PATTERN: "votes from one address, which others may share, differ from all others",
    Hold.ALIKE: "many visitors of the same day, or with as many votes, voted on one model unlike all others",
}
RELEASED = "Counted again: there is no longer a reason to hold this vote."


@dataclass(frozen=True)
class Origin:
    """Hold what a request tells of its sender: `visitors.networks_of` it, address first, and the solved puzzle, if
    any."""

    networks: Networks = ()
    proof: str = ""


NOWHERE = Origin()


def store(comparison: Comparison, battle: Battle, user: User | None, origin: Origin = NOWHERE) -> None:
    """Store a vote of `user` in `battle`, counted or held, and its trace. TooMany above the hard limits.

    Within the caller's transaction. Simulations are kept apart and are held for nothing but what the battle brought
    along.
    """
    hold, address = Hold.NAMED if battle.hold_reason else "", ""
    if not (user and user.is_simulated):
        visitor = comparison.visitor
        is_member = user is not None and is_vouched_for(user, battle.project)
        networks = () if is_member else origin.networks  # members share an office, and answer for what they do
        address = networks[0][0] if networks else ""
        busy = busy_reason(visitor=visitor, user=user, networks=networks, is_member=is_member)
        hold = (
            hold
            or _puzzle(battle, user, origin.proof)
            or duplicates.repeated(battle, visitor=visitor, user=user, address=address, is_outside=not is_member)
            or (Hold.TOLD if not is_member and disclosed_answers.is_disclosed(battle) else "")
            or busy
        )
    now = timezone.now()
    VoteTrace.objects.create(
        battle=battle, project=battle.project, address=address, held_for=hold, held_at=now if hold else None
    )
    if hold:
        comparison.status, comparison.status_reason = Status.HELD, describe_hold(hold, battle.hold_reason)
    comparison.save()


def busy_reason(*, visitor: str, user: User | None, is_member: bool, networks: Networks = ()) -> str:
    """Return the reason to hold this vote for, or ""; raises TooMany above the hard limits.

    Members answer for what they do, and share an office: theirs are counted by person alone, and never refused.
    """
    person = f"votes:user:{user.pk}" if user else f"votes:visitor:{visitor}"
    of_person = bound(person, WITHOUT_END if is_member else MOST_PER_PERSON, "votes")
    of_address = 0.0
    for network, factor in () if is_member else networks:
        count = bound(f"votes:address:{network}", MOST_PER_ADDRESS * factor, "votes")
        of_address = max(of_address, count / factor)  # a wider network does what so many addresses may
    if of_person > HELD_ABOVE_PER_PERSON:
        return Hold.BUSY_VISITOR
    return Hold.BUSY_ADDRESS if of_address > HELD_ABOVE_PER_ADDRESS else ""


def describe_hold(hold: str, battle_reason: str = "") -> str:
    """Return the reason in words, at most 200 characters, as a status' reason may have."""
    if hold == Hold.NAMED:
        return (battle_reason or "a model named itself").removesuffix(".")[:200]
    return WORDS[Hold(hold)]


def is_outside(user: User | None, project: Project) -> bool:
    """Return whether nobody vouches for the person: a visitor, or somebody who made an account for themselves."""
    return not (user and (user.is_simulated or is_vouched_for(user, project)))


def asks_puzzle(project: Project, user: User | None) -> bool:
    """Return whether a vote must bring a solved puzzle.

    An account that anybody may make for themselves is no exemption; people whom somebody has let in answer for what
    they do.
    """
    return project.proof_of_work and is_outside(user, project)


def puzzle(battle: Battle, *, user: User | None, address: str, wider: tuple[tuple[str, int], ...] = ()) -> str | None:
    """Return a challenge for this battle, or None where none is needed.

    One that cannot be given is noted and never stops anybody: the vote comes without it, and is held.
    """
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
    """Hold votes for a reason found afterwards; return how many changed."""
    return _in_batches(rows, Status.HELD, describe_hold(kind), kind)


def release(*, rows: Collection[Comparison]) -> int:
    """Count votes again, where the reason has gone; return how many changed."""
    return _in_batches(rows, Status.COUNTED, RELEASED, "")


def outage_key(project: Project) -> str:
    return f"puzzle-outage:{project.pk}"


def forget_addresses() -> int:
    """Delete the addresses of old votes; their reasons stay."""
    old = timezone.now() - timedelta(days=settings.VOTE_ADDRESS_DAYS)
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
    """Note that no puzzle could be given, for the watch, which warns managers."""
    try:
        with transaction.atomic():
            count(outage_key(project), seconds=OUTAGE_SECONDS)
    except DatabaseError:
        log.exception("and it could not be noted")


def _in_batches(rows: Collection[Comparison], status: str, reason: str, kind: str) -> int:
    """Change statuses in batches, except where a person has decided in the meantime; return how many changed.

    That is looked up in the transaction of the change.
    """
    changed, rows = 0, list(rows)
    for first in range(0, len(rows), _AT_ONCE):
        batch = rows[first : first + _AT_ONCE]
        with transaction.atomic():
            decided = settled([row.pk for row in batch])
            free = [row for row in batch if row.pk not in decided]
            changed += set_status(rows=free, status=status, reason=reason, by=None)
            if kind:
                _trace(free, kind)
    return changed


def settled(ids: Collection[int]) -> set[int]:
    """Return those of the comparisons that a person has decided about: the software leaves them alone from then on."""
    by_people = StatusChange.objects.filter(
        kind=Comparison._meta.model_name, feedback_id__in=list(ids), by__isnull=False
    )
    return set(by_people.values_list("feedback_id", flat=True))


def _trace(rows: Collection[Comparison], kind: str) -> None:
    now, battles = timezone.now(), [row.battle_id for row in rows if row.battle_id]
    traced = set(VoteTrace.objects.filter(battle__in=battles).values_list("battle_id", flat=True))
    VoteTrace.objects.filter(battle__in=traced).update(held_for=kind, held_at=now)
    VoteTrace.objects.bulk_create(  # of votes that are older than traces
        VoteTrace(battle_id=row.battle_id, project_id=row.project_id, held_for=kind, held_at=now)
        for row in rows
        if row.battle_id and row.battle_id not in traced
    )
