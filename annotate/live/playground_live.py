"""The playground's live page: answers as they are written, side by side, until they end or are stopped."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from dataclasses import replace
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.template.loader import render_to_string

from annotate import model_server, playground
from annotate.errors import Refused
from annotate.model_access import home_of, require_talk
from annotate.models import LanguageModel

PAGE = "annotate/playground.html"
FRAME_SECONDS = 0.1  # a reader gets at most ten frames per second
GONE = 4404
log = logging.getLogger(__name__)


class PlaygroundConsumer(AsyncWebsocketConsumer):
    """One question at a time. Whoever leaves stops the writing: nobody else waits for it."""

    models: tuple[LanguageModel, ...] = ()
    asking: asyncio.Task[None] | None = None
    writing: tuple[asyncio.Task[None], ...] = ()

    async def connect(self) -> None:
        await self.accept()
        try:
            self.models = await database_sync_to_async(self._models)()
        except Refused:
            await self.close(GONE)

    async def disconnect(self, code: int) -> None:
        if self.asking is not None:
            self.asking.cancel()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        try:
            given = json.loads(text_data or "")
        except ValueError:
            return
        if not isinstance(given, dict) or not self.models:
            return
        if given.get("do") == "stop":
            for side in self.writing:
                side.cancel()
        elif self.asking is None or self.asking.done():
            self.asking = asyncio.create_task(self._ask(given))

    def _models(self) -> tuple[LanguageModel, ...]:
        """Those of this address, if this person may talk with them."""
        route = self.scope["url_route"]["kwargs"]
        found = []
        for pk in filter(None, (route["pk"], route.get("beside"))):
            model = LanguageModel.objects.filter(pk=pk).first()
            project = home_of(self.scope["user"], model) if model else None
            if model is None or project is None:
                raise Refused(404, model="There is no such model.")
            require_talk(self.scope["user"], model, project)
            found.append(model)
        return tuple(found)

    async def _ask(self, given: dict[str, Any]) -> None:
        try:
            question = playground.question_of(given)
        except Refused as refused:
            await self.send(_render("problems", errors=refused.errors))
            return
        try:
            await self._answer(question)
        except Exception:  # the edge: a page that waits for ever tells nothing
            log.exception("a playground failed")
            await self.send(
                _render("problems", errors={"text": "Something went wrong on our side; the log says what."})
            )

    async def _answer(self, question: playground.Question) -> None:
        answers = [playground.Answer("AB"[side], state="waiting") for side in range(len(self.models))]
        turn = playground.Turn(question.number, question.text, tuple(answers))
        await self.send(
            _render("problems") + _render("new-turn", turn=turn, models=self.models) + _render("doing", busy=True)
        )
        self.writing = tuple(asyncio.create_task(self._write(question, side, answers)) for side in range(len(answers)))
        try:
            await self._show_until_over(turn, answers)
        finally:
            for side in self.writing:
                side.cancel()
        turns = (*question.turns, replace(turn, answers=tuple(answers)))
        await self.send(_render("said", conversation=playground.as_json(turns)) + _render("doing", busy=False))

    async def _show_until_over(self, turn: playground.Turn, answers: list[playground.Answer]) -> None:
        shown: dict[str, playground.Answer] = {}
        while True:
            is_over = all(side.done() for side in self.writing)  # before looking, so that the last look misses nothing
            changed = [answer for answer in answers if shown.get(answer.letter) != answer]
            shown |= {answer.letter: answer for answer in changed}
            if changed:
                await self.send("".join(_render("answer", turn=turn, answer=answer) for answer in changed))
            if is_over:
                return
            waiting = [side for side in self.writing if not side.done()]
            await asyncio.wait(waiting or self.writing, timeout=FRAME_SECONDS, return_when=asyncio.ALL_COMPLETED)

    async def _write(self, question: playground.Question, side: int, answers: list[playground.Answer]) -> None:
        began, text, piece = time.monotonic(), "", model_server.Piece()
        pieces = model_server.stream_chat(
            self.models[side], question.messages(side), seed=question.seed, **question.sampling
        )
        try:
            async with asyncio.timeout(3 * settings.MODEL_SERVER_TIMEOUT):
                async for piece in pieces:
                    if piece.text:
                        text += piece.text
                        answers[side] = replace(answers[side], text=text, state="writing")
            told = playground.figures(
                question, tokens=piece.tokens, seconds=time.monotonic() - began, finish_reason=piece.finish_reason
            )
            answers[side] = replace(answers[side], state="stands", figures=told)
        except asyncio.CancelledError:
            answers[side] = replace(answers[side], state="stopped", figures=f"stopped by you; seed {question.seed}")
        except model_server.ModelServerError as error:
            log.warning("playground: %s wrote no answer: %s (%s)", self.models[side], error, error.detail)
            answers[side] = replace(answers[side], state="failed", problem=f"{error} {error.detail}".strip())
        except TimeoutError:
            answers[side] = replace(answers[side], state="failed", problem="It took too long and was given up.")


def _render(partial: str, **context: Any) -> str:
    return render_to_string(f"{PAGE}#{partial}", {"live": True, **context})
