"""The model server, seen through the OpenAI protocol alone: `transformers serve`, vLLM, or somebody else's endpoint.

Everything that can go wrong becomes one ModelServerError in words (`model_server_errors`). An endpoint gets its own key
and the model's template options, and never more requests at one time than the model's concurrency. A seed is sent with
every request, but `transformers serve` draws from one generator for all requests: it repeats an answer only when
nothing else is being written at the same time.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from django.conf import settings

from annotate.core.chat_api import pace, refusals
from annotate.core.chat_api.asking import text_and_reasoning, token_count, valid_text
from annotate.core.db.connections import give_back
from annotate.core.metrics import answer_times
from annotate.core.network import outbound
from annotate.language_models import answer_stream, model_keys, model_server_errors, request_slots
from annotate.language_models.answer_stream import Piece as Piece
from annotate.models import LanguageModel

_MOST_TRIES = 5  # of one question: options that its server refuses, and waits
_LONGEST_WAIT = 10.0  # seconds that somebody waits for a server that throttles
_refused: dict[tuple[int, str], tuple[str, ...]] = {}  # what endpoints said of options that they do not take

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Reply:
    """A whole answer. With `reasoning` alone, and no text, the model was cut while it still thought."""

    text: str
    finish_reason: str
    tokens: int | None
    reasoning: str = ""
    prompt_tokens: int | None = None


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
    key = _key(model)
    try:
        async with (
            request_slots.async_slot(model, settings.MODEL_SERVER_TIMEOUT),
            outbound.async_client(model.server_url, **_how(allowed_for(model), key)) as client,
            answer_times.timed_stream(model.endpoint) as note_piece,
        ):
            refused: list[str] = []
            for number in range(1, _MOST_TRIES + 1):
                until = time.monotonic() + _longest()
                async with client.stream("POST", "chat/completions", json=body) as response:
                    if response.status_code == 200:
                        _remember(model, refused)
                        async for piece in answer_stream.pieces(response, until=until):
                            note_piece()
                            yield piece
                        return
                    told = b"\n".join([line async for line in outbound.lines_of(response, until=until)])
                again = _again(model, body, response, told, number, refused)
                if again is None:
                    break
                body = again.body
                await asyncio.sleep(again.seconds)
            raise model_server_errors.refusal(response.status_code, told, key)
    except httpx.HTTPError as error:
        raise model_server_errors.in_words(error, model.server_url) from error
    except request_slots.Full as error:
        raise model_server_errors.too_many() from error


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
    try:
        with request_slots.slot(model, settings.MODEL_SERVER_TIMEOUT), answer_times.timed(model.endpoint):
            answer = _post_adapted(model, body)
    except request_slots.Full as error:
        raise model_server_errors.too_many() from error
    try:
        choice = answer["choices"][0]
        usage = answer.get("usage") or {}
        text, thoughts = text_and_reasoning(choice["message"])
        reason, tokens = (
            valid_text(choice.get("finish_reason") or ""),
            token_count(usage.get("completion_tokens")),
        )
        return Reply(text, reason, tokens, thoughts, token_count(usage.get("prompt_tokens")))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise model_server_errors.not_understood(json.dumps(answer)) from error


def served_models(url: str, key: str = "", *, allowed: Sequence[str] | None = None) -> list[str]:
    """Return the names that the server at `url` lists; `allowed` as `allowed_for` says it, else as for the operator."""
    answer = _request(url, "GET", "models", key=key, allowed=allowed_inside() if allowed is None else allowed)
    try:
        return [entry["id"] for entry in answer["data"]]
    except (KeyError, TypeError) as error:
        raise model_server_errors.not_understood(json.dumps(answer)) from error


def held_models(url: str) -> frozenset[str] | None:
    """Return the names that the server at `url` holds; None for one that loads whatever folder it is asked for.

    `transformers serve` is such a one: it says of each model in its list whether it is loaded, as no other does. Asked
    while somebody waits, so within 2 s.
    """
    answer = _request(url, "GET", "models", allowed=allowed_inside(), timeout=httpx.Timeout(2, connect=1))
    try:
        listed = {entry["id"]: "status" in entry for entry in answer["data"]}
    except (KeyError, TypeError) as error:
        raise model_server_errors.not_understood(json.dumps(answer)) from error
    return frozenset(listed) if listed and not any(listed.values()) else None


def is_in_memory(model: LanguageModel) -> bool | None:
    """Return whether its server lists the model as loaded; None when it does not list it. Asked for a page, so within 3
    s."""
    timeout = httpx.Timeout(3, connect=1)
    answer = _request(model.server_url, "GET", "models", key=_key(model), allowed=allowed_for(model), timeout=timeout)
    try:
        listed = {entry["id"]: entry for entry in answer["data"]}
        entry = listed.get(model.server_name)
        # `status` is no part of the OpenAI protocol: servers without it hold what they list.
        return None if entry is None else (entry.get("status") or {}).get("value", "loaded") == "loaded"
    except (KeyError, TypeError, AttributeError) as error:
        raise model_server_errors.not_understood(json.dumps(answer)) from error


def _body(
    model: LanguageModel, messages: Messages, max_new_tokens: int, temperature: float, top_p: float, seed: int | None
) -> dict[str, Any]:
    body: dict[str, Any] = {
        **model.request_fields,
        "model": model.server_name,
        "messages": messages,
        "max_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": top_p,
    }
    if model.template_options:
        body["chat_template_kwargs"] = model.template_options
    if seed is not None:
        body["seed"] = seed
    for refusal in _refused.get((model.pk, model.endpoint), ()):
        body = refusals.adapted(body, refusal) or body
    return body


def _post_adapted(model: LanguageModel, body: dict[str, Any]) -> Any:
    """Return what the server answers to `body`, or to what it takes in its place."""
    key = _key(model)
    refused: list[str] = []
    for number in range(1, _MOST_TRIES + 1):
        response, told = _exchange(
            model.server_url, "POST", "chat/completions", key, allowed=allowed_for(model), json=body
        )
        again = _again(model, body, response, told, number, refused)
        if again is None:
            break
        body = again.body
        time.sleep(again.seconds)
    if response.status_code == 200:
        _remember(model, refused)
    return _read(response, told, key)


@dataclass(frozen=True)
class _Again:
    """Hold what is sent next, and after how long."""

    body: dict[str, Any]
    seconds: float = 0.0


def _again(
    model: LanguageModel, body: dict[str, Any], response: httpx.Response, told: bytes, number: int, refused: list[str]
) -> _Again | None:
    """Return how an endpoint's refusal is answered: by waiting as it says, if somebody can wait that long, or by
    leaving out what it does not take, which `refused` then holds. None: not at all."""
    status, text = response.status_code, told[:2000].decode("utf-8", "replace")
    if not model.endpoint or status == 200 or number == _MOST_TRIES:
        return None
    if refusals.kind_of(status, text) == refusals.Kind.THROTTLED:
        seconds = pace.retry_after(response.headers)
        seconds = pace.backoff(number) if seconds is None else seconds
        return _Again(body, max(0.0, seconds)) if seconds <= _LONGEST_WAIT else None
    if status not in (400, 422) or (changed := refusals.adapted(body, text)) is None:
        return None
    refused.append(text)
    return _Again(changed)


def _remember(model: LanguageModel, refused: list[str]) -> None:
    """Ask without these options from now on: the server took a question without them."""
    if refused:
        where = (model.pk, model.endpoint)
        _refused[where] = tuple(dict.fromkeys((*_refused.get(where, ()), *refused)))[-_MOST_TRIES:]


def _key(model: LanguageModel) -> str:
    try:
        return model_keys.key_of(model)
    except model_keys.KeyLost as error:
        raise model_server_errors.of_key(str(error)) from error


def _request(url: str, method: str, path: str, key: str = "", **options: Any) -> Any:
    return _read(*_exchange(url, method, path, key, **options), key)


def _exchange(
    url: str, method: str, path: str, key: str, *, allowed: Sequence[str], **options: Any
) -> tuple[httpx.Response, bytes]:
    timeout: httpx.Timeout | None = options.get("timeout")
    until = time.monotonic() + (timeout.read if timeout and timeout.read else _longest())
    try:
        with outbound.client(url, **_how(allowed, key)) as client, client.stream(method, path, **options) as response:
            return response, outbound.body_of(response, until=until)
    except httpx.HTTPError as error:
        raise model_server_errors.in_words(error, url) from error


def _read(response: httpx.Response, body: bytes, key: str) -> Any:
    if response.status_code != 200:
        raise model_server_errors.refusal(response.status_code, body, key)
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise model_server_errors.not_understood(body[:500].decode("utf-8", "replace")) from error


def allowed_inside() -> tuple[str, ...]:
    """Return the hosts and networks that are asked although only this network reaches them; the site's own server is
    one."""
    return (*settings.PRIVATE_ENDPOINTS, outbound.host_and_port(settings.MODEL_SERVER_URL))


def allowed_for(model: LanguageModel) -> tuple[str, ...]:
    """Return where a request for the model may go: as `allowed_inside`, but for a project's own model never to the
    site's own server by another name.

    That server loads whatever folder it is asked for, and a name that meant another place when the model was registered
    may mean this one by now: so it is looked at each time."""
    own_address = outbound.host_and_port(settings.MODEL_SERVER_URL)
    is_by_operator = not model.endpoint or model.project_id is None
    if is_by_operator or outbound.host_and_port(model.endpoint) == own_address:
        return allowed_inside()
    return (*settings.PRIVATE_ENDPOINTS, f"!{own_address}")


def is_own(endpoint: str) -> bool:
    """Return whether this is the address of the site's own server, under whichever name."""
    host_and_port, own_address = outbound.host_and_port(endpoint), outbound.host_and_port(settings.MODEL_SERVER_URL)
    own_places = outbound.places_of(own_address)
    return host_and_port == own_address or not outbound.places_of(host_and_port).isdisjoint(own_places)


def _longest() -> float:
    """Return the seconds that an answer may take as a whole: a server that sends a little at a time holds a place of
    those in which requests run."""
    return 3 * settings.MODEL_SERVER_TIMEOUT


def _how(allowed: Sequence[str], key: str = "") -> dict[str, Any]:
    """Return the time limits and the key: reading may take long, for the server loads a model when first asked."""
    timeout = httpx.Timeout(10, connect=5, read=settings.MODEL_SERVER_TIMEOUT)
    return {"allowed": allowed, "timeout": timeout, "key": key}
