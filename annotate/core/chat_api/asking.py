"""Ask an OpenAI-compatible server, again and again until there is an answer or none will come. Pure, thread-safe.

What passes (429, 5xx, a time-out, a connection that broke off) is asked again: as late as the server says, else later
each time, with jitter. Throttling is no failure and has no number of tries, only `PATIENCE_SECONDS` without any answer:
then no question is asked any more.
What a server refuses for good is raised as a Refusal: of one question, or of all.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from annotate.core.chat_api import refusals
from annotate.core.chat_api.pace import Pace, backoff
from annotate.core.chat_api.refusals import Body, Kind
from annotate.core.network import outbound
from common import reasoning

TRIES = 6
PATIENCE_SECONDS = 900.0
_FORBIDDEN = 10  # 403s in a row, after answers: then it is the key, and no question
_ALL = frozenset({Kind.KEY, Kind.QUOTA, Kind.ADDRESS, Kind.NAME, Kind.PRIVATE, Kind.TLS})  # no question fares better
_NO_ANSWER = frozenset({Kind.TIME_OUT, Kind.CUT, Kind.PROTOCOL})  # the server may have answered, and bill it


@dataclass(frozen=True)
class Endpoint:
    """Say where to ask, and how hard. `key` is the secret itself: it has no representation."""

    url: str
    model: str
    key: str = field(default="", repr=False)
    template_options: Mapping[str, Any] = field(default_factory=dict)
    request_fields: Mapping[str, Any] = field(default_factory=dict)  # such as llama.cpp's "lora"
    concurrency: int = 4
    timeout: float = 120.0  # seconds without a byte
    longest: float = 900.0  # seconds for a whole answer, however it drips
    allowed: tuple[str, ...] = ()  # of `outbound`

    def client(self) -> httpx.Client:
        """Return an HTTP client for as many requests at one time as the model takes."""
        timeout = httpx.Timeout(10, read=self.timeout, pool=None)
        return outbound.client(
            self.url, allowed=self.allowed, timeout=timeout, key=self.key, connections=self.concurrency
        )


@dataclass(frozen=True)
class Choice:
    text: str
    reasoning: str
    finish_reason: str
    logprobs: tuple[float, ...] = ()


@dataclass(frozen=True)
class Answer:
    """Hold one answer. `request_body` is the request as the server took it; `request` its number in the ledger."""

    request: int
    request_body: Body
    choices: tuple[Choice, ...]
    prompt_tokens: int | None
    completion_tokens: int | None


class Refusal(Exception):
    """Raised when a server refuses for good. `of_all`: no other question would be answered, either. `text` is what the
    server said, without the key."""

    def __init__(self, kind: Kind, text: str, *, of_all: bool) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind, self.text, self.of_all = kind, text, of_all


class Stopped(Exception):
    """Raised when another question failed for good; this one was not asked."""


Note = Callable[[int, str], None]  # the number of a request, and what became of it


class Asker:
    """Ask for many threads at once. `note` is called for each request when it goes out, and when it has ended without
    an answer: whoever keeps the answer knows when it is kept."""

    def __init__(self, endpoint: Endpoint, client: httpx.Client, note: Note, *, first_request: int = 1) -> None:
        self.endpoint, self.client, self.note = endpoint, client, note
        self.pace, self.stop_event = Pace(), threading.Event()
        self.left_out: set[str] = set()  # options that this server does not take
        self._lock, self._request = threading.Lock(), first_request
        self._refused: list[str] = []
        self._heard_at = time.monotonic()
        self._is_answering, self._forbidden = False, 0  # since the last answer

    def ask(self, options: Body) -> Answer:
        """Return the answer to a request that lacks its model and template options. Raises Refusal, and Stopped."""
        tries, last = 0, (Kind.FAILED, "")
        throttled, throttled_at = 0, 0.0
        refused: list[str] = []  # options of this question, in the server's words
        while tries < TRIES:
            self.pace.wait(self.stop_event)
            if self.stop_event.is_set():
                raise Stopped
            body = self._body(options, refused)
            request = self._next_request()
            self.note(request, "asked")
            try:
                status, headers, text = self._exchange(body)
            except outbound.Refused as error:
                kind = refusals.kind_of_fault(error)
                self.note(request, Kind.CUT if kind == Kind.PROTOCOL else kind)  # a long answer is billed
                raise Refusal(kind, str(error), of_all=kind == Kind.PRIVATE) from error
            except httpx.HTTPError as error:
                last = (refusals.kind_of_fault(error), type(error).__name__)
                self.note(request, last[0])
            else:
                if status == 200 and (answer := self._answer(request, body, text)) is not None:
                    self.pace.hear(headers, is_throttled=False)
                    self._heard_at = time.monotonic()
                    self._is_answering, self._forbidden = True, 0
                    self._remember(refused, options, body)
                    return answer
                kind = Kind.PROTOCOL if status == 200 else refusals.kind_of(status, text)
                self.note(request, kind)
                self._tell(status, text)
                if status in (400, 422) and refusals.adapted(body, text) is not None:
                    refused.append(text)
                    continue
                if status == 200 or not refusals.is_passing(status, text):
                    raise Refusal(kind, self._safe(text), of_all=self._is_of_all(kind, status))
                last = (kind, f"HTTP {status}")
                if kind == Kind.THROTTLED:
                    if not self._is_patient():
                        raise Refusal(kind, f"no answer in {PATIENCE_SECONDS:g} s; the last was {last[1]}", of_all=True)
                    # Whoever was answered meanwhile shows that there is room: it begins anew with short waits.
                    throttled = throttled + 1 if self._heard_at < throttled_at else 1
                    throttled_at = time.monotonic()
                    self.pace.hear(headers, is_throttled=True)
                    self.pace.hold(backoff(throttled))  # too: a server may name no wait, or one that is over
                    continue
            tries += 1
            if tries < TRIES:
                self.stop_event.wait(backoff(tries))
        kind, reason = last
        raise Refusal(kind, f"no answer in {TRIES} tries; the last one ended with {reason}", of_all=kind in _ALL)

    def _exchange(self, body: Body) -> tuple[int, Mapping[str, str], str]:
        until = time.monotonic() + self.endpoint.longest
        with self.client.stream("POST", "chat/completions", json=body) as response:
            data = outbound.body_of(response, until=until)
        return response.status_code, response.headers, data.decode("utf-8", "replace")

    def _body(self, options: Body, refused: Sequence[str]) -> Body:
        body: Body = {**self.endpoint.request_fields, "model": self.endpoint.model, **options}
        if self.endpoint.template_options:
            body["chat_template_kwargs"] = dict(self.endpoint.template_options)
        with self._lock:
            refused_before = list(self._refused)
        for text in (*refused_before, *refused):
            body = refusals.adapted(body, text) or body
        return body

    def _remember(self, refused: Sequence[str], options: Body, body: Body) -> None:
        """Ask all others so, too, now that the server took a question without what it refused."""
        if refused:
            with self._lock:
                self._refused += [text for text in refused if text not in self._refused]
                self.left_out |= options.keys() - body.keys() - {"max_tokens"}

    def _answer(self, request: int, body: Body, text: str) -> Answer | None:
        """Return the answer of a response body; None where it does not follow OpenAI's protocol."""
        try:
            response = json.loads(text)
            choices = tuple(_choice(choice) for choice in response["choices"])
            usage = response.get("usage") or {}
            counts = token_count(usage.get("prompt_tokens")), token_count(usage.get("completion_tokens"))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None
        return Answer(request, body, choices, *counts) if choices else None

    def _next_request(self) -> int:
        with self._lock:
            number, self._request = self._request, self._request + 1
        return number

    def _is_of_all(self, kind: Kind, status: int) -> bool:
        """Return whether no other question fares better. A 403 among answers is of one: some providers moderate."""
        if kind == Kind.KEY and status == 403 and self._is_answering:
            with self._lock:
                self._forbidden += 1
                return self._forbidden >= _FORBIDDEN
        return kind in _ALL

    def _is_patient(self) -> bool:
        return time.monotonic() - self._heard_at < PATIENCE_SECONDS

    def _tell(self, status: int, text: str) -> None:
        print(f"The server said, with HTTP {status}: {self._safe(text)}", file=sys.stderr, flush=True)

    def _safe(self, text: str) -> str:
        return refusals.without_key(text, self.endpoint.key)[:300]


def may_be_billed(kind: str) -> bool:
    """Return whether a request that ended so may have been answered, and be on the bill."""
    return kind in _NO_ANSWER


def _choice(choice: Mapping[str, Any]) -> Choice:
    text, reasoning_text = text_and_reasoning(choice["message"])
    content = (choice.get("logprobs") or {}).get("content") or ()
    logprobs = tuple(float(token["logprob"]) for token in content)
    return Choice(text, reasoning_text, valid_text(choice.get("finish_reason") or "")[:16], logprobs)


def text_and_reasoning(message: Mapping[str, Any]) -> tuple[str, str]:
    """Return what a message of the assistant answers, and what was thought before it."""
    text, reasoning_text = reasoning.split(valid_text(message.get("content") or ""))
    return text, reasoning.joined(valid_text(reasoning.of_message(message)), reasoning_text)


def valid_text(text: object) -> str:
    """Return what a file and a database take: half a surrogate pair becomes a question mark.

    A server that cut a reply off within a character sends one."""
    return str(text).encode("utf-8", "replace").decode("utf-8")


def token_count(value: object) -> int | None:
    """Return a number of tokens that a database takes, whatever the server sent for it."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None
