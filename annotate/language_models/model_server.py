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

from annotate.core import outbound
from annotate.core.db.connections import give_back
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


class ModelServerError(Exception):
    """`what` happened and the `remedy`, fit for anyone to read; `detail` is what the server said."""

    def __init__(self, what: str, remedy: str, detail: str = "") -> None:
        super().__init__(f"{what} {remedy}")
        self.what, self.remedy, self.detail = what, remedy, detail


class NotReached(ModelServerError):
    """Nothing listens there, or nobody knows the way."""


def told_to_researchers(model: LanguageModel, error: ModelServerError) -> str:
    """What a researcher reads of a failure: of the site's own server what it said, too, such as a folder's fault.

    Of somebody's endpoint never: whoever registered it may not be able to read what answers there.
    """
    return str(error) if model.endpoint else f"{error} {error.detail}".strip()


async def stream_chat(
    model: LanguageModel,
    messages: Messages,
    *,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    seed: int | None = None,
) -> AsyncIterator[Piece]:
    """The model's answer as it is written. Closing the iterator closes the request, and the server stops."""
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
                raise _refusal(response, b"".join([line async for line in outbound.lines_of(response)]))
            async for piece in _pieces(response):
                yield piece
    except httpx.HTTPError as error:
        raise _in_words(error) from error


def complete_chat(
    model: LanguageModel,
    messages: Messages,
    *,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    seed: int | None = None,
) -> Reply:
    """The whole answer at once, for callers that do not stream."""
    body = _body(model, messages, max_new_tokens, temperature, top_p, seed)
    give_back()
    answer = _request(model.server_url, "POST", "chat/completions", json=body)
    try:
        choice = answer["choices"][0]
        tokens = (answer.get("usage") or {}).get("completion_tokens")
        message = choice["message"]
        text, thought = reasoning.split(message.get("content") or "")
        thought = reasoning.joined(reasoning.of_message(message), thought)
        return Reply(text, choice.get("finish_reason") or "", tokens, thought)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise _not_understood(json.dumps(answer)) from error


def served_models(url: str) -> list[str]:
    """The names that the server at `url` lists."""
    answer = _request(url, "GET", "models")
    try:
        return [entry["id"] for entry in answer["data"]]
    except (KeyError, TypeError) as error:
        raise _not_understood(json.dumps(answer)) from error


def held_models(url: str) -> frozenset[str] | None:
    """The names that the server at `url` holds; None for one that loads whatever folder it is asked for.

    `transformers serve` is such a one: it says of each model in its list whether it is loaded, as no other does. Asked
    while somebody waits, so within 2 s.
    """
    answer = _request(url, "GET", "models", timeout=httpx.Timeout(2, connect=1))
    try:
        listed = {entry["id"]: "status" in entry for entry in answer["data"]}
    except (KeyError, TypeError) as error:
        raise _not_understood(json.dumps(answer)) from error
    return frozenset(listed) if listed and not any(listed.values()) else None


def is_in_memory(model: LanguageModel) -> bool | None:
    """Whether its server lists the model as loaded; None when it does not list it. Asked for a page, so within 3 s."""
    answer = _request(model.server_url, "GET", "models", timeout=httpx.Timeout(3, connect=1))
    try:
        listed = {entry["id"]: entry for entry in answer["data"]}
        entry = listed.get(model.server_name)
        # `status` is no part of the OpenAI protocol: servers without it hold what they list.
        return None if entry is None else (entry.get("status") or {}).get("value", "loaded") == "loaded"
    except (KeyError, TypeError, AttributeError) as error:
        raise _not_understood(json.dumps(answer)) from error


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
        raise _in_words(error) from error
    if response.status_code != 200:
        raise _refusal(response, body)
    try:
        return json.loads(body)
    except ValueError as error:
        raise _not_understood(body[:500].decode("utf-8", "replace")) from error


def allowed_inside() -> tuple[str, ...]:
    """The hosts and networks that are asked although only this network reaches them; the site's own server is one."""
    return (*settings.PRIVATE_ENDPOINTS, outbound.host_and_port(settings.MODEL_SERVER_URL))


def is_own(endpoint: str) -> bool:
    """Whether this is the address of the site's own server, under whichever name."""
    host_and_port, own = outbound.host_and_port(endpoint), outbound.host_and_port(settings.MODEL_SERVER_URL)
    return host_and_port == own or not _places(host_and_port).isdisjoint(_places(own))


def _places(host_and_port: str) -> set[tuple[str, int]]:
    host, _, port = host_and_port.rpartition(":")
    try:
        judged = outbound.require_allowed(host, int(port), (host.lower(),))
    except OSError:  # a name that nobody knows just now is at no place
        return set()
    return {(address.removeprefix("::ffff:"), int(port)) for address in judged}


def _how() -> dict[str, Any]:
    """Reading may take long: the server loads a model when it is first asked for it."""
    timeout = httpx.Timeout(10, connect=5, read=settings.MODEL_SERVER_TIMEOUT)
    return {"allowed": allowed_inside(), "timeout": timeout}


async def _pieces(response: httpx.Response) -> AsyncIterator[Piece]:
    finish_reason, tokens, raw, shown, thought = "", None, "", "", ""
    async for event in _events(response):
        if event.get("error"):
            raise ModelServerError(
                "The model server failed while it wrote this answer.", "Try again.", str(event["error"])
            )
        tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
        for choice in (event.get("choices") or [])[:1]:
            finish_reason = choice.get("finish_reason") or finish_reason
            delta = choice.get("delta") or {}
            thought += reasoning.of_message(delta)
            if text := delta.get("content"):
                raw += text
                answer = reasoning.split_so_far(raw).answer
                if answer != shown:
                    yield _grown(shown, answer)
                    shown = answer
    if not finish_reason:
        raise _broke_off("The stream ended without a finish_reason.")
    apart = reasoning.split(raw)
    last = _grown(shown, apart.answer)
    yield replace(
        last, finish_reason=finish_reason, tokens=tokens, reasoning=reasoning.joined(thought, apart.reasoning)
    )


def _grown(shown: str, answer: str) -> Piece:
    if answer.startswith(shown):
        return Piece(answer[len(shown) :])
    return Piece(answer, restarts=True)


async def _events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of a server-sent event stream.

    Split at newlines only: httpx's own line reader also splits at U+2028 and U+0085, which answers may contain.
    """
    async for line in outbound.lines_of(response):
        data = line.strip().removeprefix(b"data:").strip()
        if not line.startswith(b"data:") or data in (b"", b"[DONE]"):
            continue
        try:
            event = json.loads(data)
        except ValueError as error:
            raise _not_understood(data.decode(errors="replace")) from error
        if not isinstance(event, dict):
            raise _not_understood(data.decode(errors="replace"))
        yield event


def _in_words(error: httpx.HTTPError) -> ModelServerError:
    detail = f"{type(error).__name__}: {error}"
    if isinstance(error, outbound.TooLong):
        return ModelServerError("The model server's answer is too long.", "Ask for a shorter one.", detail)
    if isinstance(error, outbound.Refused):
        return ModelServerError(
            "The model server was not asked, or its answer not read.",
            f"An address inside this network must be allowed by the operator ({outbound.VARIABLE}).",
            detail,
        )
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return NotReached(
            "The model server cannot be reached.",
            "It may still be starting: try again in a minute. Whoever runs this site starts it with script/server.",
            detail,
        )
    if isinstance(error, httpx.TimeoutException):
        return ModelServerError(
            f"The model server sent nothing for {settings.MODEL_SERVER_TIMEOUT:g} seconds.",
            "It may be busy: try again in a while.",
            detail,
        )
    return _broke_off(detail)


def _broke_off(detail: str) -> ModelServerError:
    return ModelServerError(
        "The connection to the model server broke off in the middle of this answer.", "Try again.", detail
    )


def _not_understood(detail: str) -> ModelServerError:
    return ModelServerError(
        "The model server sent something that is not the OpenAI protocol.",
        "Check that the address is that of an OpenAI-compatible server and ends with /v1.",
        detail[:500],
    )


def _refusal(response: httpx.Response, body: bytes) -> ModelServerError:
    code = response.status_code
    detail = f"HTTP {code}: {body[:500].decode('utf-8', 'replace')}"
    if code in (401, 403):
        return ModelServerError("The model server did not let us in.", "Its key or its rules must be changed.", detail)
    if code == 404:
        return ModelServerError(
            "The model server does not know this model, or has no such address.",
            "Check the endpoint, which ends with /v1, and the served name.",
            detail,
        )
    if code in (429, 503):
        return ModelServerError("The model server has too much to do just now.", "Try again in a while.", detail)
    if code < 500:
        return ModelServerError(
            f"The model server refused the question (HTTP {code}).", "Ask something shorter, or try again.", detail
        )
    return ModelServerError(
        f"The model server failed at this answer (HTTP {code}).", "Try again; if it stays so, its log says why.", detail
    )
