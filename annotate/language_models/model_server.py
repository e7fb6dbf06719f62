"""The model server, seen through the OpenAI protocol alone: `transformers serve`, vLLM, or somebody else's endpoint.

Everything that can go wrong becomes one ModelServerError in words. The words never name a model, a folder or an
address, because an arena visitor may read them before the vote; what the server said is in `detail`, for logs alone: it
may come from where its reader cannot look. A seed is sent with every request, but `transformers serve` draws from one
generator for all requests: it repeats an answer only when nothing else is being written at the same time.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
from django.conf import settings

from annotate.core.db.connections import give_back
from annotate.core.network import outbound
from annotate.language_models.model_server_errors import ModelServerError, broke_off, in_words, not_understood, refusal
from annotate.models import LanguageModel
from common import reasoning

Messages = list[dict[str, str]]


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


@dataclass(frozen=True)
class Reply:
    """A whole answer. With `reasoning` alone, and no text, the model was cut while it still thought."""

    text: str
    finish_reason: str
    tokens: int | None
    reasoning: str = ""


async def stream_chat(
    model: LanguageModel,
    messages: Messages,
    *,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    seed: int | None = None,
) -> AsyncIterator[Piece]:
    """Yield the model's answer as it is written. Closing the iterator closes the request, and the server stops."""
    body = _body(model, messages, max_new_tokens, temperature, top_p, seed) | {
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    try:
        async with (
            outbound.async_client(model.server_url, **_how()) as client,
            client.stream("POST", "chat/completions", json=body) as response,
        ):
            if response.status_code != 200:
                raise refusal(response, b"".join([line async for line in outbound.lines_of(response)]))
            async for piece in _pieces(response):
                yield piece
    except httpx.HTTPError as error:
        raise in_words(error) from error


def complete_chat(
    model: LanguageModel,
    messages: Messages,
    *,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    seed: int | None = None,
) -> Reply:
    """Return the whole answer at once, for callers that do not stream."""
    body = _body(model, messages, max_new_tokens, temperature, top_p, seed)
    give_back()
    answer = _request(model.server_url, "POST", "chat/completions", json=body)
    try:
        choice = answer["choices"][0]
        tokens = (answer.get("usage") or {}).get("completion_tokens")
        message = choice["message"]
        text, thoughts = reasoning.split(message.get("content") or "")
        thoughts = reasoning.joined(reasoning.of_message(message), thoughts)
        return Reply(text, choice.get("finish_reason") or "", tokens, thoughts)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise not_understood(json.dumps(answer)) from error


def served_models(url: str) -> list[str]:
    """Return the names that the server at `url` lists."""
    answer = _request(url, "GET", "models")
    try:
        return [entry["id"] for entry in answer["data"]]
    except (KeyError, TypeError) as error:
        raise not_understood(json.dumps(answer)) from error


def held_models(url: str) -> frozenset[str] | None:
    """Return the names that the server at `url` holds; None for one that loads whatever folder it is asked for.

    `transformers serve` is such a one: it says of each model in its list whether it is loaded, as no other does. Asked
    while somebody waits, so within 2 s.
    """
    answer = _request(url, "GET", "models", timeout=httpx.Timeout(2, connect=1))
    try:
        listed = {entry["id"]: "status" in entry for entry in answer["data"]}
    except (KeyError, TypeError) as error:
        raise not_understood(json.dumps(answer)) from error
    return frozenset(listed) if listed and not any(listed.values()) else None


def is_in_memory(model: LanguageModel) -> bool | None:
    """Return whether its server lists the model as loaded; None when it does not list it. Asked for a page, so within 3
    s."""
    answer = _request(model.server_url, "GET", "models", timeout=httpx.Timeout(3, connect=1))
    try:
        listed = {entry["id"]: entry for entry in answer["data"]}
        entry = listed.get(model.server_name)
        # `status` is no part of the OpenAI protocol: servers without it hold what they list.
        return None if entry is None else (entry.get("status") or {}).get("value", "loaded") == "loaded"
    except (KeyError, TypeError, AttributeError) as error:
        raise not_understood(json.dumps(answer)) from error


def _body(
    model: LanguageModel, messages: Messages, max_new_tokens: int, temperature: float, top_p: float, seed: int | None
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model.server_name,
        "messages": messages,
        "max_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": top_p,
    }
    return body if seed is None else body | {"seed": seed}


def _request(url: str, method: str, path: str, **options: Any) -> Any:
    try:
        with outbound.client(url, **_how()) as client, client.stream(method, path, **options) as response:
            body = outbound.body_of(response)
    except httpx.HTTPError as error:
        raise in_words(error) from error
    if response.status_code != 200:
        raise refusal(response, body)
    try:
        return json.loads(body)
    except ValueError as error:
        raise not_understood(body[:500].decode("utf-8", "replace")) from error


def allowed_inside() -> tuple[str, ...]:
    """Return the hosts and networks that are asked although only this network reaches them; the site's own server is
    one."""
    return (*settings.PRIVATE_ENDPOINTS, outbound.host_and_port(settings.MODEL_SERVER_URL))


def is_own(endpoint: str) -> bool:
    """Return whether this is the address of the site's own server, under whichever name."""
    host_and_port, own_address = outbound.host_and_port(endpoint), outbound.host_and_port(settings.MODEL_SERVER_URL)
    return host_and_port == own_address or not _places(host_and_port).isdisjoint(_places(own_address))


def _places(host_and_port: str) -> set[tuple[str, int]]:
    host, _, port = host_and_port.rpartition(":")
    try:
        addresses = outbound.require_allowed(host, int(port), (host.lower(),))
    except OSError:  # a name that nobody knows just now is at no place
        return set()
    return {(address.removeprefix("::ffff:"), int(port)) for address in addresses}


def _how() -> dict[str, Any]:
    """Return the time limits: reading may take long, for the server loads a model when it is first asked for it."""
    timeout = httpx.Timeout(10, connect=5, read=settings.MODEL_SERVER_TIMEOUT)
    return {"allowed": allowed_inside(), "timeout": timeout}


async def _pieces(response: httpx.Response) -> AsyncIterator[Piece]:
    finish_reason, tokens, raw, shown, thoughts = "", None, "", "", ""
    async for event in _events(response):
        if event.get("error"):
            raise ModelServerError(
                "The model server failed while it wrote this answer.", "Try again.", str(event["error"])
            )
        tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
        for choice in (event.get("choices") or [])[:1]:
            finish_reason = choice.get("finish_reason") or finish_reason
            delta = choice.get("delta") or {}
            thoughts += reasoning.of_message(delta)
            if text := delta.get("content"):
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


async def _events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """Yield the JSON objects of a server-sent event stream.

    Split at newlines only: httpx's own line reader also splits at U+2028 and U+0085, which answers may contain.
    """
    async for line in outbound.lines_of(response):
        data = line.strip().removeprefix(b"data:").strip()
        if not line.startswith(b"data:") or data in (b"", b"[DONE]"):
            continue
        try:
            event = json.loads(data)
        except ValueError as error:
            raise not_understood(data.decode(errors="replace")) from error
        if not isinstance(event, dict):
            raise not_understood(data.decode(errors="replace"))
        yield event
