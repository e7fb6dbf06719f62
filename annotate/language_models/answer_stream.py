"""An answer as it is written: server-sent events of OpenAI's protocol, the answer told apart from what was thought."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx

from annotate.core.chat_api.asking import token_count, valid_text
from annotate.core.network import outbound
from annotate.language_models.model_server_errors import ModelServerError, broke_off, not_understood
from common import reasoning


@dataclass(frozen=True)
class Piece:
    """Some text of an answer. The last piece carries why it ended, what the model thought before it answered, and, if
    the server counts them, its tokens. `restarts`: what came so far was thought, as only now can be seen."""

    text: str = ""
    finish_reason: str = ""
    tokens: int | None = None
    reasoning: str = ""
    restarts: bool = False

    def after(self, text: str) -> str:
        """Return the answer so far."""
        return self.text if self.restarts else text + self.text


async def pieces(response: httpx.Response, *, until: float | None = None) -> AsyncIterator[Piece]:
    """Yield an answer's pieces. Raises httpx.ReadTimeout when they still come at `until` of time.monotonic()."""
    finish_reason, tokens, raw, shown, thoughts = "", None, "", "", ""
    async for event in _events(response, until):
        if event.get("error"):
            raise ModelServerError(
                "The model server failed while it wrote this answer.", "Try again.", str(event["error"])
            )
        try:
            tokens = token_count((event.get("usage") or {}).get("completion_tokens")) or tokens
            choice = next(iter(event.get("choices") or []), None) or {}
            finish_reason = valid_text(choice.get("finish_reason") or finish_reason)
            delta = choice.get("delta") or {}
            thoughts += valid_text(reasoning.of_message(delta))
            text = valid_text(delta.get("content") or "")
        except (AttributeError, TypeError) as error:
            raise not_understood(json.dumps(event)) from error
        if text:
            raw += text
            answer = reasoning.split_so_far(raw).answer
            if answer != shown:
                yield _grown(shown, answer)
                shown = answer
    if not finish_reason:
        raise broke_off("The stream ended without a finish_reason.")
    apart = reasoning.split(raw)
    last = _grown(shown, apart.answer)
    yield replace(
        last, finish_reason=finish_reason, tokens=tokens, reasoning=reasoning.joined(thoughts, apart.reasoning)
    )


def _grown(shown: str, answer: str) -> Piece:
    if answer.startswith(shown):
        return Piece(answer[len(shown) :])
    return Piece(answer, restarts=True)


async def _events(response: httpx.Response, until: float | None) -> AsyncIterator[dict[str, Any]]:
    """Yield the JSON objects of a server-sent event stream.

    Split at newlines only: httpx's own line reader also splits at U+2028 and U+0085, which answers may contain.
    """
    async for line in outbound.lines_of(response, until=until):
        data = line.strip().removeprefix(b"data:").strip()
        if not line.startswith(b"data:") or data in (b"", b"[DONE]"):
            continue
        try:
            event = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise not_understood(data.decode(errors="replace")) from error
        if not isinstance(event, dict):
            raise not_understood(data.decode(errors="replace"))
        yield event
