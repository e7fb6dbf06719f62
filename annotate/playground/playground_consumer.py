"""The playground's live page: answers as they are written, side by side, until they end or are stopped."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import Any

from django.conf import settings

from annotate.core.asgi.conversation_consumer import ConversationConsumer
from annotate.core.asgi.database_threads import in_thread
from annotate.core.errors import Refused
from annotate.language_models import model_server, model_server_errors, serving
from annotate.language_models.model_access import home_of, require_talk
from annotate.models import LanguageModel, Project
from annotate.playground import turns as playground

log = logging.getLogger(__name__)


class PlaygroundConsumer(ConversationConsumer):
    """Stop writing when whoever asked leaves: nobody else waits for it."""

    right = "research"
    page = "annotate/playground/playground.html"
    models: tuple[LanguageModel, ...] = ()
    project: Project
    turn: playground.Turn
    answers: list[playground.Answer]
    shown: dict[str, playground.Answer]

    async def admits(self) -> bool:
        try:
            self.models = await in_thread(self._models)()
        except Refused:
            return False
        return True

    def _models(self) -> tuple[LanguageModel, ...]:
        """Return the models of this address, if this person may talk with them."""
        route = self.scope["url_route"]["kwargs"]
        language_models: list[LanguageModel] = []
        for pk in filter(None, (route["pk"], route.get("beside"))):
            model = LanguageModel.objects.filter(pk=pk).first()
            project = home_of(self.scope["user"], model) if model else None
            if model is None or project is None:
                raise Refused(404, model="There is no such model.")
            require_talk(self.scope["user"], model, project)
            if not language_models:
                self.project = project
            language_models.append(model)
        return tuple(language_models)

    async def answer(self, fields: dict[str, Any]) -> None:
        try:
            question = playground.question_of(fields, self.project, self.models[0])
        except Refused as refused:
            await self.send_parts("problems", errors=refused.errors)
            return
        self.answers = [playground.Answer("AB"[side], state="waiting") for side in range(len(self.models))]
        self.turn, self.shown = playground.Turn(question.number, question.text, tuple(self.answers)), {}
        await self.send_parts("problems", "new-turn", "doing", turn=self.turn, models=self.models, busy=True)
        await self.show_until_over(
            [asyncio.create_task(self._write(question, side)) for side in range(len(self.answers))]
        )
        turns = (*question.turns, replace(self.turn, answers=tuple(self.answers)))
        await self.send_parts("said", "doing", conversation=playground.as_json(turns), busy=False)

    async def show(self) -> None:
        for answer in self.answers:
            if self.shown.get(answer.letter) != answer:
                self.shown[answer.letter] = answer
                await self.send_parts("answer", turn=self.turn, answer=answer)

    async def _write(self, question: playground.Question, side: int) -> None:
        began, text, piece, answers = time.monotonic(), "", model_server.Piece(), self.answers
        try:
            model = await in_thread(serving.asked_now)(self.models[side])
            pieces = model_server.stream_chat(model, question.messages(side), seed=question.seed, **question.sampling)
            async with asyncio.timeout(3 * settings.MODEL_SERVER_TIMEOUT):
                async for piece in pieces:
                    if piece.text or piece.restarts:
                        text = piece.after(text)
                        answers[side] = replace(answers[side], text=text, state="writing")
            figures = playground.figures(
                question, tokens=piece.tokens, seconds=time.monotonic() - began, finish_reason=piece.finish_reason
            )
            answers[side] = replace(answers[side], state="stands", figures=figures, reasoning=piece.reasoning)
            if piece.reasoning and not text:
                problem = playground.without_answer(question)
                answers[side] = replace(answers[side], state="failed", problem=problem)
        except asyncio.CancelledError:
            answers[side] = replace(answers[side], state="stopped", figures=f"stopped by you; seed {question.seed}")
        except model_server_errors.ModelServerError as error:
            log.warning("playground: %s wrote no answer: %s (%s)", self.models[side], error, error.detail)
            answers[side] = replace(
                answers[side],
                state="failed",
                problem=model_server_errors.describe_for_researchers(self.models[side], error),
            )
        except TimeoutError:
            answers[side] = replace(answers[side], state="failed", problem="The answer took too long and was stopped.")
