"""The live page of a red-team talk: one answer as it is written, until it ends or is stopped; then it is kept."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any

from django.conf import settings

from annotate.core.asgi.conversation_consumer import ConversationConsumer
from annotate.core.asgi.database_threads import in_thread
from annotate.core.errors import Refused
from annotate.language_models import model_server, model_server_errors
from annotate.language_models.model_settings import sampling_for
from annotate.models import Question, Talk
from annotate.red_team import actions as red_team
from common.sampling import CUT, cut_words

log = logging.getLogger(__name__)


class TalkConsumer(ConversationConsumer):
    """Serve the person who holds the conversation. A frame holds the texts and nothing of the model.

    Whoever leaves stops the writing, and what is written so far is kept: a reload finds it.
    """

    right = "mine"
    page = "annotate/red_team/red_team.html"
    talk: Talk | None = None
    question: Question
    text, problem, cut = "", "", ""
    shown: str | None = None

    async def admits(self) -> bool:
        self.talk = await in_thread(self._own_talk)()
        return self.talk is not None

    def _own_talk(self) -> Talk | None:
        user = self.scope["user"]
        if not user.is_authenticated:
            return None
        talks = Talk.objects.filter(token=self.scope["url_route"]["kwargs"]["token"], user=user)
        return talks.select_related("project", "model", "user").first()

    async def answer(self, fields: dict[str, Any]) -> None:
        try:
            self.question, is_new = await in_thread(self._question)(str(fields.get("text") or ""))
        except Refused as refused:
            await self.send_parts("problems", errors=refused.errors)
            return
        self.text, self.problem, self.cut, self.shown = "", "", "", None
        new = ["new-question"] if is_new else []
        await self.send_parts(*new, "problems", "doing", question=self.question, busy=True)
        await self.show_until_over([asyncio.create_task(self._write(self.question))])
        errors = {"text": self.problem} if self.problem else {}
        await self.send_parts("answer", question=self.question, text=self.text, cut=self.cut, is_writing=False)
        await self.send_parts("problems", "doing", errors=errors, must_retry=bool(errors), can_rate=not errors)

    async def show(self) -> None:
        if self.text != self.shown:
            self.shown = self.text
            await self.send_parts("answer", question=self.question, text=self.text, is_writing=True)

    def _question(self, text: str) -> tuple[Question, bool]:
        """Return the question that still waits for its answer, else a new one."""
        assert self.talk is not None
        red_team.require_open(self.talk, self.talk.user)  # else a model would write for a talk that is over
        if waiting := red_team.unanswered(self.talk):
            return waiting, False
        return red_team.ask(talk=self.talk, by=self.talk.user, text=text), True

    async def _write(self, question: Question) -> None:
        """Keep what comes: whole, cut off at the limit, or as far as it was when somebody stopped it."""
        seed, piece, reason = random.getrandbits(31), model_server.Piece(), red_team.STOPPED
        talk = question.talk
        sampling = sampling_for(talk.project, talk.model)
        pieces = model_server.stream_chat(talk.model, red_team.messages_for_model(question), seed=seed, **sampling)
        try:
            async with asyncio.timeout(3 * settings.MODEL_SERVER_TIMEOUT):
                async for piece in pieces:
                    self.text = piece.after(self.text)
            reason = piece.finish_reason
            self.cut = cut_words(sampling["max_new_tokens"]) if reason == CUT else ""
        except asyncio.CancelledError:
            pass
        except model_server_errors.ModelServerError as error:
            log.warning("red-team: %s wrote no answer: %s (%s)", question.talk.model, error, error.detail)
            self.problem = str(error)
            return
        except TimeoutError:
            self.problem = "The answer took too long and was stopped. Try again."
            return
        if not self.text.strip():
            self.problem = red_team.ONLY_THOUGHT if piece.reasoning else "There is no answer yet. Try again."
            return
        await in_thread(red_team.keep_answer)(
            question=question,
            text=self.text,
            seed=seed,
            tokens=piece.tokens,
            finish_reason=reason,
            reasoning=piece.reasoning,
        )
