"""The live page of a red-team talk: one answer as it is written, until it ends or is stopped; then it is kept."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.template.loader import render_to_string

from annotate import model_server
from annotate.actions import red_team
from annotate.errors import Refused
from annotate.models import Question, Talk

PAGE = "annotate/red_team.html"
FRAME_SECONDS = 0.1
GONE = 4404
log = logging.getLogger(__name__)


class TalkConsumer(AsyncWebsocketConsumer):
    """For whoever holds the talk. A frame holds the texts and nothing of the model."""

    talk: Talk | None = None
    asking: asyncio.Task[None] | None = None
    writing: asyncio.Task[None] | None = None
    text, problem = "", ""
    is_closed = False

    async def connect(self) -> None:
        await self.accept()
        self.talk = await database_sync_to_async(self._mine)()
        if self.talk is None:
            await self.close(GONE)

    async def disconnect(self, code: int) -> None:
        self.is_closed = True
        if self.writing is not None:
            self.writing.cancel()  # what is written so far is kept: a reload finds it

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            given = json.loads(text_data or "")
        except ValueError:
            return
        if not isinstance(given, dict) or self.talk is None:
            return
        if given.get("do") == "stop":
            if self.writing is not None:
                self.writing.cancel()
        elif self.asking is None or self.asking.done():
            self.asking = asyncio.create_task(self._turn(str(given.get("text") or "")))

    def _mine(self) -> Talk | None:
        user = self.scope["user"]
        if not user.is_authenticated:
            return None
        mine = Talk.objects.filter(token=self.scope["url_route"]["kwargs"]["token"], user=user)
        return mine.select_related("project", "model", "user").first()

    async def _turn(self, text: str) -> None:
        try:
            question, is_new = await database_sync_to_async(self._question)(text)
        except Refused as refused:
            await self._send("problems", errors=refused.errors)
            return
        try:
            await self._answer(question, is_new)
        except Exception:  # the edge: a page that waits for ever tells nothing
            log.exception("a red-team talk failed")
            await self._send("problems", errors={"text": "Something went wrong on our side; the log says what."})

    def _question(self, text: str) -> tuple[Question, bool]:
        """The one that still waits for its answer, else a new one."""
        assert self.talk is not None
        red_team.require_open(self.talk, self.talk.user)  # else a model would write for a talk that is over
        if waiting := red_team.unanswered(self.talk):
            return waiting, False
        return red_team.ask(talk=self.talk, by=self.talk.user, text=text), True

    async def _answer(self, question: Question, is_new: bool) -> None:
        self.text = self.problem = ""
        if is_new:
            await self._send("new-question", question=question)
        await self._send("problems", errors={})
        await self._send("doing", busy=True)
        self.writing = asyncio.create_task(self._write(question))
        shown = None
        while True:
            is_over = self.writing.done()  # before looking, so that the last look misses nothing
            if self.text != shown:
                shown = self.text
                await self._send("answer", question=question, text=shown, is_writing=not is_over)
            if is_over:
                break
            await asyncio.wait({self.writing}, timeout=FRAME_SECONDS)
        errors = {"text": self.problem} if self.problem else {}
        await self._send("answer", question=question, text=self.text, is_writing=False)
        await self._send("problems", errors=errors)
        await self._send("doing", busy=False, must_retry=bool(errors), can_rate=not errors)

    async def _write(self, question: Question) -> None:
        """Keep what comes: whole, cut off at the limit, or as far as it was when somebody stopped it."""
        seed, piece, reason = random.getrandbits(31), model_server.Piece(), red_team.STOPPED
        pieces = model_server.stream_chat(question.talk.model, question.prompt.messages, seed=seed, **red_team.SAMPLING)
        try:
            async with asyncio.timeout(3 * settings.MODEL_SERVER_TIMEOUT):
                async for piece in pieces:
                    self.text += piece.text
            reason = piece.finish_reason
        except asyncio.CancelledError:
            pass
        except model_server.ModelServerError as error:
            log.warning("red-team: %s wrote no answer: %s (%s)", question.talk.model, error, error.detail)
            self.problem = str(error)
            return
        except TimeoutError:
            self.problem = "The answer took too long and was given up. Try again."
            return
        if not self.text.strip():
            self.problem = "There is no answer yet. Have it written again."
            return
        await database_sync_to_async(red_team.keep_answer)(
            question=question,
            text=self.text,
            seed=seed,
            sampling={**red_team.SAMPLING},
            tokens=piece.tokens,
            finish_reason=reason,
        )

    async def _send(self, partial: str, **context: Any) -> None:
        if self.is_closed:
            return
        await self.send(render_to_string(f"{PAGE}#{partial}", {"live": True, "talk": self.talk, **context}))
