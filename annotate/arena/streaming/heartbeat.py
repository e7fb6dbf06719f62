"""Beat for all battles that this process writes: renew leases, keep drafts, notice requests to stop, all at once.

A statement for each battle would have two hundred of them stand in the line of SQLite's writers every second, before
whoever judges; so one goes out for all of an event loop, and none where nothing has changed and the leases are fresh.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from django.db import Error
from django.db.models import Case, F, TextField, Value, When

from annotate.arena.streaming.loop_round import LoopRound
from annotate.core.asgi.database_threads import in_thread
from annotate.core.db.connections import database_now
from annotate.models import Battle

LEASE_SECONDS = 10.0
BEAT_SECONDS = 1.0
RENEW_SECONDS = 3.0  # a lease lasts for several of these
_AT_ONCE = 100  # battles of one statement
log = logging.getLogger(__name__)


class Beating(Protocol):
    """Hold one process's claim on a battle that it writes. `stop` is called once, when somebody has asked for it."""

    battle_id: int
    claim: uuid.UUID
    is_stopping: bool

    def drafts(self) -> tuple[str, str]: ...

    def stop(self) -> None: ...


@dataclass(frozen=True)
class _Note:
    battle_id: int
    claim: uuid.UUID
    drafts: tuple[str, str]
    is_new: bool  # they differ from what was kept last


@dataclass
class _KeptDrafts:
    drafts: tuple[str, str]
    renewed: float  # by time.monotonic


_beating: LoopRound[Beating, _KeptDrafts] = LoopRound(lambda: BEAT_SECONDS, lambda beating: _beat_once(beating))


def join(writing: Beating) -> None:
    """Add a writing to the beat, until `leave`. Call it within a running event loop."""
    _beating.join(writing, _KeptDrafts(writing.drafts(), time.monotonic()))


def leave(writing: Beating) -> None:
    _beating.leave(writing)


async def _beat_once(beating: dict[Beating, _KeptDrafts]) -> None:
    now, kept_by_writing = time.monotonic(), dict(beating)
    notes = {
        writing: _Note(writing.battle_id, writing.claim, drafts, drafts != last.drafts)
        for writing, last in kept_by_writing.items()
        if (drafts := writing.drafts()) != last.drafts or now - last.renewed >= RENEW_SECONDS
    }
    try:
        battle_by_claim = {writing.claim: writing.battle_id for writing in kept_by_writing}
        stopping = await in_thread(_write)(list(notes.values()), battle_by_claim)
    except Error as error:  # a database that is busy or away now; the leases last for several beats
        log.warning("%d leases of battles were not renewed: %s", len(notes), error)
        return
    for writing, note in notes.items():
        if writing in beating:
            beating[writing] = _KeptDrafts(note.drafts, now)
    for writing in kept_by_writing:
        if writing.claim in stopping and not writing.is_stopping:
            writing.stop()


def _write(notes: Sequence[_Note], battle_by_claim: Mapping[uuid.UUID, int]) -> set[uuid.UUID]:
    """Renew and keep what the notes say; return those of the claims whose battles somebody wants to end.

    Battles are found by their ids: there is no index of claims, and all battles would be read each second.
    """
    until = database_now() + timedelta(seconds=LEASE_SECONDS)
    for first in range(0, len(notes), _AT_ONCE):
        batch = notes[first : first + _AT_ONCE]
        new = [note for note in batch if note.is_new]
        drafts = {
            name: Case(
                *(When(claim=note.claim, then=Value(storable(note.drafts[side]))) for note in new),
                default=F(name),
                output_field=TextField(),
            )
            for side, name in enumerate(("draft_a", "draft_b"))
            if new
        }
        own_battles = Battle.objects.filter(
            pk__in=[note.battle_id for note in batch], claim__in=[note.claim for note in batch]
        )
        own_battles.update(claimed_until=until, **drafts)
    battles = Battle.objects.filter(
        pk__in=battle_by_claim.values(), claim__in=battle_by_claim, stop_asked_at__isnull=False
    )
    return {claim for claim in battles.values_list("claim", flat=True) if claim}


def storable(draft: str) -> str:
    """Return the draft without what no database can keep. Such text is refused when the answer ends; the lease must not
    be lost over it before."""
    return draft.encode("utf-8", "ignore").decode().replace("\x00", "")
