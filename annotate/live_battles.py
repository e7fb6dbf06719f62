"""The answers of a battle while they are being written.

One task per battle writes both sides, and it goes on when its reader leaves: a reload looks on, it never asks the
models again. The task holds a lease on the battle in the database; other processes poll the database meanwhile. A
process that is killed renews no more, and whoever looks next takes the battle up where it stands: a side that was
finished stays as it is.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from annotate import model_server
from annotate.actions.pairing import ARENA
from annotate.actions.prompts import add_completion
from annotate.errors import Refused
from annotate.models import Battle, LanguageModel, Prompt

log = logging.getLogger(__name__)

SAMPLING: model_server.Sampling = {"max_new_tokens": 160, "temperature": 0.7, "top_p": 0.95}
LEASE_SECONDS = 10.0
FRAME_SECONDS = 0.1  # a reader gets at most ten frames per second
POLL_SECONDS = 1.0  # while another process writes


@dataclass(frozen=True)
class Side:
    """What a reader may see of one answer. It knows no model."""

    letter: str
    text: str = ""
    state: str = "waiting"  # then writing, and at last stands or failed
    problem: str = ""

    @property
    def is_over(self) -> bool:
        return self.state in ("stands", "failed")


Sides = tuple[Side, Side]


async def follow(battle_id: int) -> AsyncGenerator[Sides]:
    """Both sides, again whenever something has changed, until both stand or no more can be done just now.

    Starts the writing when nobody else does it.
    """
    while True:
        writing = _here.get(battle_id) or await _take(battle_id)
        if writing is None:
            sides = await database_sync_to_async(stored)(battle_id)
        else:
            async for sides in writing.watch():
                yield sides
        if all(side.is_over for side in sides):
            if writing is None:
                yield sides
            return
        if writing is None:
            yield sides
        await asyncio.sleep(POLL_SECONDS)


def write_now(battle: Battle, *, seconds: float) -> Sides:
    """For callers that cannot stream: write what is missing, wait as long as allowed, and say how it stands.

    Not within a transaction: the answers are written by another thread, which would not see the battle.
    """
    if transaction.get_connection().in_atomic_block:
        raise RuntimeError("write_now was called within a transaction; commit the battle first.")

    async def settle(sides: Sides) -> Sides:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), aclosing(follow(battle.pk)) as frames:
                async for frame in frames:
                    sides = frame
        return sides

    sides = stored(battle.pk)
    if not all(side.is_over for side in sides):
        sides = async_to_sync(settle)(sides)
    battle.refresh_from_db()
    return sides


def stored(battle_id: int) -> Sides:
    """What stands in the database."""
    battle = Battle.objects.select_related("completion_a", "completion_b").get(pk=battle_id)
    a, b = battle.completion_a, battle.completion_b
    return (
        Side("A", a.text, "stands") if a else Side("A"),
        Side("B", b.text, "stands") if b else Side("B"),
    )


def outlook(sides: Sides) -> dict[str, bool]:
    """Whether a vote can be cast, and whether anything went wrong."""
    return {
        "ready": all(side.state == "stands" for side in sides),
        "failed": any(side.state == "failed" for side in sides),
    }


class LeaseLost(Exception):
    """Somebody else has taken the battle up; nothing of ours may be written any more."""


class _Writing:
    """A battle that this process writes."""

    def __init__(self, battle: Battle, claim: uuid.UUID, sides: Sides) -> None:
        self.battle_id, self.claim = battle.pk, claim
        self.prompt: Prompt = battle.prompt
        self.models: tuple[LanguageModel, LanguageModel] = (battle.model_a, battle.model_b)
        self.sides, self.version = list(sides), 0
        # A context of its own: the task outlives the request, and with it the request's thread for the database.
        self.task = asyncio.create_task(self._run(), context=contextvars.Context())

    async def watch(self) -> AsyncIterator[Sides]:
        shown = -1
        while True:
            finished = self.task.done()  # before looking, so that the last look misses nothing
            if self.version != shown or finished:
                shown = self.version
                yield self._visible()
            if finished:
                return
            await asyncio.wait({self.task}, timeout=FRAME_SECONDS)

    def _visible(self) -> Sides:
        """Nothing before both have begun: which model was slower to load is not for the voter to see."""
        a, b = self.sides
        if "waiting" in (a.state, b.state) and "writing" in (a.state, b.state):
            a, b = (replace(s, text="", state="waiting") if s.state == "writing" else s for s in (a, b))
        return a, b

    def _show(self, index: int, **changes: str) -> None:
        self.sides[index] = replace(self.sides[index], **changes)
        self.version += 1

    async def _run(self) -> None:
        renewing = asyncio.create_task(self._renew())
        try:
            await asyncio.gather(*(self._write(i) for i, side in enumerate(self.sides) if side.state != "stands"))
        finally:
            renewing.cancel()
            _here.pop(self.battle_id, None)
            await database_sync_to_async(_release)(self.battle_id, self.claim)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 4)
            await database_sync_to_async(_renew)(self.battle_id, self.claim)

    async def _write(self, index: int) -> None:
        seed = random.getrandbits(31)
        try:
            async with asyncio.timeout(3 * settings.MODEL_SERVER_TIMEOUT):
                last = await self._stream(index, seed)
            await database_sync_to_async(self._keep)(index, seed, last)
            self._show(index, state="stands")
        except model_server.ModelServerError as error:
            log.warning(
                "battle %s: %s wrote no answer: %s (%s)", self.battle_id, self.models[index], error, error.detail
            )
            self._show(index, state="failed", problem=str(error))
        except TimeoutError:
            self._show(index, state="failed", problem="This answer took too long and was given up. Try again.")
        except Refused as refused:
            log.warning("battle %s: an answer of %s was not kept: %s", self.battle_id, self.models[index], refused)
            self._show(index, state="failed", problem="This answer could not be kept. Try again.")
        except LeaseLost:
            self._show(index, state="waiting", text="")
        except Exception:  # the edge: a reader must not wait for ever because of a mistake of ours
            log.exception("battle %s: writing an answer of %s failed", self.battle_id, self.models[index])
            self._show(index, state="failed", problem="Something went wrong on our side; the log says what. Try again.")

    async def _stream(self, index: int, seed: int) -> model_server.Piece:
        text, piece = "", model_server.Piece()
        pieces = model_server.stream_chat(self.models[index], self.prompt.messages, seed=seed, **SAMPLING)
        async for piece in pieces:
            if piece.text:
                text += piece.text
                self._show(index, text=text, state="writing")
        if not text.strip():
            raise model_server.ModelServerError("The model gave an empty answer.", "Try again, or ask something else.")
        return piece

    @transaction.atomic
    def _keep(self, index: int, seed: int, last: model_server.Piece) -> None:
        """The completion and its place in the battle, or neither."""
        completion = add_completion(
            prompt=self.prompt,
            model=self.models[index],
            text=self.sides[index].text,
            sampling={**SAMPLING},
            seed=seed,
            tokens=last.tokens,
            finish_reason=last.finish_reason,
            source=ARENA,
        )
        place = ("completion_a", "completion_b")[index]
        free = Battle.objects.filter(pk=self.battle_id, claim=self.claim, **{place: None})
        if not free.update(**{place: completion}):
            raise LeaseLost


_here: dict[int, _Writing] = {}


async def _take(battle_id: int) -> _Writing | None:
    """Take the battle up, when it is neither finished nor somebody's."""
    claim = uuid.uuid4()
    battle = await database_sync_to_async(_claim)(battle_id, claim)
    if battle is None:
        return None
    _here[battle_id] = _Writing(battle, claim, await database_sync_to_async(stored)(battle_id))
    return _here[battle_id]


def _claim(battle_id: int, claim: uuid.UUID) -> Battle | None:
    now = timezone.now()
    unfinished = Battle.objects.filter(Q(completion_a=None) | Q(completion_b=None), pk=battle_id)
    free = unfinished.filter(Q(claimed_until=None) | Q(claimed_until__lt=now))
    if not free.update(claim=claim, claimed_until=now + timedelta(seconds=LEASE_SECONDS)):
        return None
    return Battle.objects.select_related("prompt", "model_a", "model_b").get(pk=battle_id)


def _renew(battle_id: int, claim: uuid.UUID) -> None:
    until = timezone.now() + timedelta(seconds=LEASE_SECONDS)
    Battle.objects.filter(pk=battle_id, claim=claim).update(claimed_until=until)


def _release(battle_id: int, claim: uuid.UUID) -> None:
    Battle.objects.filter(pk=battle_id, claim=claim).update(claim=None, claimed_until=None)
