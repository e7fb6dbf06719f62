"""Follow the answers of a battle while they are being written.

One task per battle writes both sides (answer_writer.py), and it goes on when its reader leaves: a reload looks on, it
never asks the models again. The task holds a lease on the battle in the database; other processes look there meanwhile
(onlookers.py). A process that is killed renews no more, and whoever looks next takes the battle up where it stands: a
side that was finished stays as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Hashable
from contextlib import aclosing, suppress

from asgiref.sync import async_to_sync
from django.db import transaction
from django.utils import timezone

from annotate.arena.battles import votes
from annotate.arena.battles.scene import Scene, stored
from annotate.arena.streaming import answer_writer, onlookers
from annotate.arena.vote_guard import actions as vote_guard
from annotate.core.asgi import waiting
from annotate.core.asgi.database_threads import in_thread
from annotate.core.db.connections import give_back
from annotate.core.metrics.counters import BATTLE, counted_refusals
from annotate.core.visitors import Networks
from annotate.models import Battle, Comparison, User

LEAST_SECONDS = 0.5  # of a wait, so that the writing has begun
SETTLING_SECONDS = 15.0  # for a vote in mid-stream: until both writers have let go


async def follow(battle_id: int) -> AsyncGenerator[Scene]:
    """Yield the newest question, again whenever something has changed, until both answers are over or no more can be
    done.

    Starts the writing when nobody else does it.
    """
    while True:
        writing = answer_writer.here(battle_id) or await answer_writer.take(battle_id)
        if writing is not None:
            async for scene in writing.watch():
                yield scene
            if scene.is_over and scene.number == (await in_thread(stored)(battle_id)).number:
                return
        else:
            mark, scene = await in_thread(_marked)(battle_id)
            yield scene
            if scene.is_over:
                return
            await onlookers.changed(battle_id, since=mark)


def _marked(battle_id: int) -> tuple[Hashable, Scene]:
    """Return the mark and the scene, the mark first: what changes between the two is read once too often, but not
    missed."""
    mark = onlookers.mark_of(battle_id)
    return mark, stored(battle_id)


def write_now(battle: Battle, *, seconds: float, networks: Networks = ()) -> Scene:
    """Write what is missing, for callers that cannot stream: wait as long as allowed, and say how it stands.

    Not within a transaction: the answers are written by another thread, which would not see the battle.
    """
    if transaction.get_connection().in_atomic_block:
        raise RuntimeError("write_now was called within a transaction; commit the battle first.")

    async def wait(scene: Scene) -> Scene:
        async with waiting.aside(_person(battle), networks) as has_room:
            with suppress(TimeoutError):
                async with (
                    asyncio.timeout(seconds if has_room else min(seconds, LEAST_SECONDS)),
                    aclosing(follow(battle.pk)) as frames,
                ):
                    async for frame in frames:
                        scene = frame
        return scene

    scene = stored(battle.pk)
    if not scene.is_over:
        give_back()
        scene = async_to_sync(wait)(scene)
    battle.refresh_from_db()
    return scene


def require_room(*, user: User | None, visitor: str, networks: Networks) -> None:
    """Raise TooMany while this person, these networks or everybody waits for as many answers as they may."""
    waiting.require_room(_key(user.pk if user else None, visitor), networks)


def _person(battle: Battle) -> str:
    return _key(battle.user_id, battle.visitor)


def _key(user: int | None, visitor: str) -> str:
    return f"user:{user}" if user else f"visitor:{visitor}"


def look(battle: Battle) -> Scene:
    """Return the newest question as it is now, with what this process is writing."""
    writing = answer_writer.here(battle.pk)
    scene = stored(battle.pk)
    return writing.visible() if writing is not None and not scene.is_over and writing.number == scene.number else scene


def stop(battle: Battle, *, seconds: float = SETTLING_SECONDS, networks: Networks = ()) -> Scene:
    """End both answers where they are, whoever writes them. An answer without a word yet spoils its question."""
    if stored(battle.pk).is_over:
        return look(battle)
    Battle.objects.filter(pk=battle.pk).update(stop_asked_at=timezone.now())
    answer_writer.nudge(battle.pk)
    return write_now(battle, seconds=seconds, networks=networks)


def vote(*, battle: Battle, ballot: votes.Ballot, origin: vote_guard.Origin = vote_guard.NOWHERE) -> Comparison:
    """Cast a vote that may come in mid-stream: both answers end here, what stands is kept, and then it is stored."""
    with counted_refusals(BATTLE):
        return votes.cast_vote(battle, ballot, origin, end_answers=lambda: stop(battle, networks=origin.networks))
