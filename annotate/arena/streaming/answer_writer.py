"""Write the answers to a battle's newest question: two streams, kept when they end, stopped or spoilt together."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import threading
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from annotate.arena.battles.actions import NAMED_ITSELF
from annotate.arena.battles.scene import (
    STOPPED,
    Place,
    Scene,
    Side,
    count_begun,
    in_step,
    masking_context,
    number_of,
    questions_of,
    raw_sides,
    scene_of,
    together,
)
from annotate.arena.masking import masked_text as masking
from annotate.arena.masking.growing_mask import GrowingMask
from annotate.arena.streaming import heartbeat
from annotate.core.asgi.database_threads import in_thread
from annotate.core.db.connections import database_now
from annotate.core.errors import Refused
from annotate.data.prompts.actions import add_completion
from annotate.language_models import model_server, model_server_errors
from annotate.language_models.model_settings import sampling_for, system_prompt_for
from annotate.models import Battle, BattleTurn, Prompt
from annotate.models.prompts import ARENA
from common.sampling import CUT, cut_words, kept_sampling, with_system_prompt

log = logging.getLogger(__name__)

FRAME_SECONDS = 0.1  # a reader gets at most ten frames per second
GRACE_SECONDS = 1.0  # a model server that is down fails both sides; then its words are said
# Words for whoever voted blind: they must not tell which of the two it was.
ONE_FAILED = "One of the two answers could not be written, so this question does not count."
EMPTY = "One of the two models gave an empty answer, so this question does not count."
ONLY_THOUGHT = "One of the two models reached the token limit while still reasoning, so this question does not count."
TOO_EARLY = "You stopped the answers before both had begun, so this question does not count."


class LeaseLost(Exception):
    """Raised when somebody else has taken the battle up; nothing of ours may be written any more."""


class Problem(Exception):
    """Say why an answer is none, in words for the reader."""


class Writing:
    """A question that this process answers."""

    def __init__(self, battle: Battle, place: Place, claim: uuid.UUID) -> None:
        self.battle, self.battle_id, self.place, self.claim = battle, battle.pk, place, claim
        self.number, self.masking_context = number_of(place), masking_context(battle, place)
        self.models = (battle.model_a, battle.model_b)
        self.samplings = tuple(sampling_for(battle.project, model) for model in self.models)
        self.system_prompts = tuple(system_prompt_for(battle.project, model) for model in self.models)
        self.sides, self.version, self.problem = list(raw_sides(battle, place)), 0, ""
        self.masks = (GrowingMask(self.masking_context), GrowingMask(self.masking_context))
        self.looking, self.shown_version = threading.Lock(), -1
        self.changed = asyncio.Event()  # set by the next change, which puts another one in its place
        self.shown_scene = scene_of(place, (Side("A"), Side("B")), "")  # until somebody looks
        self.is_stopping = battle.stop_asked_at is not None
        self.streams: dict[int, asyncio.Task[model_server.Piece]] = {}
        self.problems: dict[int, str] = {}
        self.cut: set[int] = set()  # ended because the other side failed
        self.ended_sides: set[int] = set()  # by themselves, which the reader may not see yet
        self.shortened: set[int] = set()  # to what the reader had seen when it was stopped
        if self.is_stopping:
            self._shorten()
        self.loop = asyncio.get_running_loop()
        # A context of its own: the task outlives the request, and with it the request's thread for the database.
        self.task = asyncio.create_task(self._run(), context=contextvars.Context())
        self.task.add_done_callback(lambda _: self.changed.set())

    async def watch(self) -> AsyncIterator[Scene]:
        shown = -1
        while True:
            changed, finished = self.changed, self.task.done()  # before looking, so that the last look misses nothing
            if self.version != shown or finished:
                shown = self.version
                yield self.shown_scene if self.shown_version == shown else await asyncio.to_thread(self.visible)
            if finished:
                return
            await asyncio.wait({self.task}, timeout=FRAME_SECONDS)
            await changed.wait()

    def visible(self) -> Scene:
        """Return the scene, masked once for all who look on. Not for the event loop: a long answer takes a while."""
        with self.looking:
            if self.shown_version != (version := self.version):
                self.shown_scene, self.shown_version = self._look(), version
            return self.shown_scene

    def _look(self) -> Scene:
        pairs = zip(in_step(self.sides), self.masks, strict=True)
        a, b = (replace(side, text=mask.shown(side.text, is_whole=side.is_over)) for side, mask in pairs)
        return scene_of(self.place, together(a, b), self.problem, count_begun(self.sides))

    def stop(self) -> None:
        """Stop both sides; they keep what the reader has seen of them."""
        self.is_stopping = True
        self._shorten()
        for stream in self.streams.values():
            stream.cancel()

    def _shorten(self) -> None:
        if not all(side.text.strip() for side in self.sides):  # it is too early: what there is is kept as a draft
            return
        for index, side in enumerate(in_step(self.sides)):
            if side.text != self.sides[index].text:
                self._show(index, text=side.text)
                self.shortened.add(index)

    def _show(self, index: int, **changes: str) -> None:
        self.sides[index] = replace(self.sides[index], **changes)
        self.version += 1
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    async def _run(self) -> None:
        heartbeat.join(self)
        try:
            async with asyncio.TaskGroup() as group:
                for index, side in enumerate(self.sides):
                    if not side.is_over:
                        group.create_task(self._write(index))
            if self.problems:
                await self._spoil()
        except* LeaseLost:
            for index in (0, 1):
                self._show(index, state="waiting", text="")
        finally:
            heartbeat.leave(self)
            if _here.get(self.battle.pk) is self:
                del _here[self.battle.pk]
            await in_thread(_release)(self.battle.pk, self.claim)

    def _cut_words(self) -> str:
        """Return the note on cut answers, without the number where the two had different room: it would tell one model
        from the other."""
        rooms = {sampling["max_new_tokens"] for sampling in self.samplings}
        return cut_words(rooms.pop() if len(rooms) == 1 else None)

    def drafts(self) -> tuple[str, str]:
        return self.sides[0].text, self.sides[1].text

    async def _write(self, index: int) -> None:
        seed = random.getrandbits(31)
        try:
            last = await self._answer(index, seed)
            if last is None:
                return
            await self._until_seen(index)
            if index in self.shortened:
                last = model_server.Piece(finish_reason=STOPPED)
            await in_thread(self._keep)(index, seed, last)
            cut = self._cut_words() if last.finish_reason == CUT else ""
            self._show(index, state=STOPPED if last.finish_reason == STOPPED else "stands", cut=cut)
        except LeaseLost:
            raise
        except Problem as problem:
            await self._fail(index, str(problem))
        except model_server_errors.ModelServerError as error:
            log.warning("battle %s: %s wrote none: %s (%s)", self.battle.pk, self.models[index], error, error.detail)
            await self._fail(index, str(error))
        except TimeoutError:
            log.warning("battle %s: %s took too long", self.battle.pk, self.models[index])
            await self._fail(index, ONE_FAILED)
        except Refused as refused:
            log.warning("battle %s: an answer of %s was not kept: %s", self.battle.pk, self.models[index], refused)
            await self._fail(index, ONE_FAILED)
        except Exception:  # the edge: a reader must not wait for ever because of a mistake of ours
            log.exception("battle %s: writing an answer of %s failed", self.battle.pk, self.models[index])
            await self._fail(index, ONE_FAILED)

    async def _answer(self, index: int, seed: int) -> model_server.Piece | None:
        """Return the last piece. A stopped answer keeps the text it has. None when the other side's failure ended
        it."""
        last = model_server.Piece(finish_reason=STOPPED)
        if not self.is_stopping:
            self._show(index, text="", state="waiting")
            self.streams[index] = asyncio.create_task(self._stream(index, seed))
            try:
                async with asyncio.timeout(3 * settings.MODEL_SERVER_TIMEOUT):
                    last = await self.streams[index]
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():  # not the stream alone, but all of this
                    raise
        if index in self.cut:
            return None
        if not self.sides[index].text.strip():
            raise Problem(TOO_EARLY if last.finish_reason == STOPPED else ONLY_THOUGHT if last.reasoning else EMPTY)
        return last

    async def _until_seen(self, index: int) -> None:
        """Wait until the reader can see all of an answer: the other has come as far, or is over."""
        other = 1 - index
        self.ended_sides.add(index)
        while not (self.is_stopping or other in self.problems or self.sides[other].is_over):
            if len(self.sides[other].text) >= len(self.sides[index].text):
                return
            await asyncio.sleep(FRAME_SECONDS)

    async def _stream(self, index: int, seed: int) -> model_server.Piece:
        text, piece = "", model_server.Piece()
        messages = with_system_prompt(self._prompt(index).messages, self.system_prompts[index])
        async for piece in model_server.stream_chat(self.models[index], messages, seed=seed, **self.samplings[index]):
            if piece.text or piece.restarts:
                text = piece.after(text)
                self._show(index, text=text, state="writing")
        return piece

    def _prompt(self, index: int) -> Prompt:
        """Return the conversation of each side, which goes on from its own answers."""
        place = self.place
        return place.prompt if isinstance(place, Battle) else (place.prompt_a, place.prompt_b)[index]

    async def _fail(self, index: int, problem: str) -> None:
        """End both sides where one fails: a question that one of them did not answer counts for neither."""
        self.problems[index] = problem
        other = 1 - index
        stream = self.streams.get(other)
        if stream and self.sides[other].state == "waiting" and other not in self.problems:
            await asyncio.wait({stream}, timeout=GRACE_SECONDS)
            await asyncio.sleep(0)  # whoever waits for it comes first
        if other not in {*self.problems, *self.ended_sides} and not self.sides[other].is_over:
            self.cut.add(other)
            if stream:
                stream.cancel()

    async def _spoil(self) -> None:
        self.problem = _in_words(list(self.problems.values()))
        await in_thread(_spoil)(self.battle, self.place, self.claim, self.problem, *self.drafts())
        for index in (0, 1):
            self._show(index, state="failed")

    def _keep(self, index: int, seed: int, last: model_server.Piece) -> None:
        """Keep the completion and its place in the battle, or neither."""
        # before the transaction: it takes time
        names_itself = masking.names_itself(self.sides[index].text, self.masking_context)
        with transaction.atomic():
            self._keep_answer(index, seed, last, names_itself)

    def _keep_answer(self, index: int, seed: int, last: model_server.Piece, names_itself: bool) -> None:
        completion = add_completion(
            prompt=self._prompt(index),
            model=self.models[index],
            text=self.sides[index].text,
            sampling=kept_sampling(self.samplings[index], self.system_prompts[index]),
            seed=seed,
            tokens=last.tokens,
            finish_reason=last.finish_reason,
            source=ARENA,
            reasoning=last.reasoning,
        )
        name = ("completion_a", "completion_b")[index]
        if isinstance(self.place, Battle):
            free = Battle.objects.filter(pk=self.battle.pk, claim=self.claim, **{name: None})
            n_updated = free.update(**{name: completion})
        else:
            open_turn = BattleTurn.objects.filter(pk=self.place.pk, battle__claim=self.claim, **{name: None})
            n_updated = open_turn.update(**{name: completion})
        if not n_updated:
            raise LeaseLost
        if names_itself:
            Battle.objects.filter(pk=self.battle.pk).update(hold_reason=NAMED_ITSELF)


_here: dict[int, Writing] = {}


def here(battle_id: int) -> Writing | None:
    return _here.get(battle_id)


def nudge(battle_id: int) -> None:
    """Carry out a stop that this very process can carry out at once; another finds it in the database with its next
    beat."""
    if (writing := _here.get(battle_id)) is not None:
        writing.loop.call_soon_threadsafe(writing.stop)


async def take(battle_id: int) -> Writing | None:
    """Take the battle up, when it is neither finished nor somebody's."""
    claim = uuid.uuid4()
    claimed = await in_thread(_claim)(battle_id, claim)
    if claimed is None:
        return None
    battle, place = claimed
    _here[battle_id] = Writing(battle, place, claim)
    return _here[battle_id]


def _claim(battle_id: int, claim: uuid.UUID) -> tuple[Battle, Place] | None:
    now = database_now()
    is_open = Q(completion_a=None) | Q(completion_b=None)
    turns = BattleTurn.objects.filter(is_open, battle=OuterRef("pk"), spoilt_reason="")
    unfinished = Battle.objects.filter(is_open | Exists(turns), pk=battle_id, spoilt_reason="")
    free = unfinished.filter(Q(claimed_until=None) | Q(claimed_until__lt=now))
    if not free.exists():  # most who look on: they must not stand in the line of those who write
        return None
    if not free.update(claim=claim, claimed_until=now + timedelta(seconds=heartbeat.LEASE_SECONDS)):
        return None
    related = ("project", "prompt", "model_a", "model_b", "completion_a", "completion_b")
    battle = Battle.objects.select_related(*related).get(pk=battle_id)
    return battle, questions_of(battle)[-1]


@transaction.atomic
def _spoil(battle: Battle, place: Place, claim: uuid.UUID, reason: str, draft_a: str, draft_b: str) -> None:
    drafts = {"draft_a": heartbeat.storable(draft_a), "draft_b": heartbeat.storable(draft_b)}
    if not Battle.objects.filter(pk=battle.pk, claim=claim).update(**drafts):
        raise LeaseLost
    type(place).objects.filter(pk=place.pk).update(spoilt_reason=reason[:200])


def _release(battle_id: int, claim: uuid.UUID) -> None:
    Battle.objects.filter(pk=battle_id, claim=claim).update(claim=None, claimed_until=None)


def _in_words(problems: list[str]) -> str:
    """Return both sides' own words where they are the same; else words that do not tell one side from the other."""
    if len(problems) == 2 and problems[0] == problems[1]:
        return problems[0]
    return next((words for words in (TOO_EARLY, ONLY_THOUGHT, EMPTY) if words in problems), ONE_FAILED)
