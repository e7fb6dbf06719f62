"""Watch battles that another process writes: one query each second, for all who watch here.

A look is two small queries for a hundred battles, and no statement that writes. Five hundred pages that each asked for
their own battle every second took half of what two processes can do, from those who judge.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Hashable

from django.db import Error
from django.db.models.functions import Length

from annotate.arena.streaming.loop_round import LoopRound
from annotate.core.asgi.database_threads import in_thread
from annotate.core.db.connections import database_now
from annotate.models import Battle, BattleTurn

POLL_SECONDS = 1.0
_AT_ONCE = 100  # battles of one query
log = logging.getLogger(__name__)

_Waiting = dict[asyncio.Future[None], tuple[int, Hashable]]
_waiting: LoopRound[asyncio.Future[None], tuple[int, Hashable]] = LoopRound(
    lambda: POLL_SECONDS, lambda waiting: _look(waiting), abandon=asyncio.Future.cancel
)


def mark_of(battle_id: int) -> Hashable:
    """Return what changes whenever a reader could see something new, or when nobody writes the battle any more."""
    return _marks([battle_id]).get(battle_id)


async def changed(battle_id: int, since: Hashable) -> None:
    """Wait until a look finds another mark than `since`."""
    future = asyncio.get_running_loop().create_future()
    _waiting.join(future, (battle_id, since))
    try:
        await future
    finally:
        _waiting.leave(future)


async def _look(waiting: _Waiting) -> None:
    try:
        marks = await in_thread(_marks)({battle_id for battle_id, _ in waiting.values()})
    except Error as error:  # a database that is busy or away now
        log.warning("%d pages could not look at their battles: %s", len(waiting), error)
        return
    for future, (battle_id, since) in list(waiting.items()):
        if marks.get(battle_id) != since and not future.done():
            future.set_result(None)


def _marks(battle_ids: Collection[int]) -> dict[int, Hashable]:
    ids, now = sorted(battle_ids), database_now()
    marks: dict[int, tuple[Hashable, ...]] = {}
    for first in range(0, len(ids), _AT_ONCE):
        batch = ids[first : first + _AT_ONCE]
        battles = Battle.objects.filter(pk__in=batch).annotate(a=Length("draft_a"), b=Length("draft_b"))
        of_battle = ("a", "b", "completion_a", "completion_b", "spoilt_reason", "stop_asked_at")
        for pk, until, *columns in battles.values_list("pk", "claimed_until", *of_battle):
            marks[pk] = (until is None or until < now, *columns)
        turns = BattleTurn.objects.filter(battle__in=batch).order_by("battle", "number")
        for pk, *columns in turns.values_list("battle", "number", "completion_a", "completion_b", "spoilt_reason"):
            if pk in marks:
                marks[pk] = (*marks[pk], *columns)
    return dict(marks)
