"""Somebody's API behind a key, over real sockets: it throttles, drips, cuts off, thinks, refuses and bills.

with keyed_api(key="sk-…") as api:
    api.url, api.billed, api.trouble.append(Throttle(retry_after="0.1"))

What it bills is what it answered with HTTP 200, whether or not the answer arrived whole.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.stub_server import serve

Body = dict[str, Any]


@dataclass(frozen=True)
class Trouble:
    """What one request meets in place of an answer."""

    status: int = 500
    body: str = '{"error": {"message": "it broke"}}'
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False  # the answer is billed and begun, and the connection closed within it
    drip_seconds: float = 0.0  # between two halves of a whole answer
    hang_seconds: float = 0.0  # before anything is sent; then the connection closes


def throttle(seconds: str = "0.05") -> Trouble:
    body = '{"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}}'
    return Trouble(429, body, {"Retry-After": seconds, "x-ratelimit-remaining-requests": "0"})


@dataclass
class KeyedApi:
    key: str = "sk-of-the-stub"
    url: str = ""
    models: tuple[str, ...] = ("small", "large")
    context: int = 10_000  # characters of a conversation
    gives_n: bool = True
    refuses: tuple[str, ...] = ()  # options that are answered with 400
    every: Callable[[int], Trouble | None] = lambda number: None  # by the number of a request, from 1
    answer: Callable[[Body], str] = lambda body: f"Answer to {body['messages'][-1]['content']}"
    reasoning: str = ""
    finish: str = "stop"
    requests: list[Body] = field(default_factory=list)
    billed: list[Body] = field(default_factory=list)
    trouble: list[Trouble] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    seconds: float = 0.0  # that each answer takes
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def bill(self) -> tuple[int, int]:
        """Return the tokens of prompts and of completions that were billed."""
        prompts = sum(prompt_tokens(body) for body in self.billed)
        return prompts, sum(completion_tokens(self.answer(body)) * _choices(self, body) for body in self.billed)


def prompt_tokens(body: Body) -> int:
    return sum(len(turn["content"].split()) for turn in body["messages"])


def completion_tokens(text: str) -> int:
    return len(text.split())


@contextmanager
def keyed_api(**options: Any) -> Iterator[KeyedApi]:
    api = KeyedApi(**options)
    with serve(_handler(api)) as api.url:
        yield api


def _choices(api: KeyedApi, body: Body) -> int:
    return int(body.get("n", 1)) if api.gives_n else 1


def _answered(api: KeyedApi, body: Body) -> Body:
    text = api.answer(body)
    message: Body = {"role": "assistant", "content": text}
    if api.reasoning:
        message["reasoning"] = api.reasoning
    choice: Body = {"message": message, "finish_reason": api.finish}
    if body.get("logprobs"):
        choice["logprobs"] = {"content": [{"token": word, "logprob": -0.5} for word in text.split()]}
    many = _choices(api, body)
    usage = {"prompt_tokens": prompt_tokens(body), "completion_tokens": completion_tokens(text) * many}
    return {"choices": [{"index": i, **choice} for i in range(many)], "usage": usage}


def _refusal(api: KeyedApi, body: Body) -> tuple[int, str] | None:
    """Return status and message of what is wrong with a request; None when nothing is."""
    if body["model"] not in api.models:
        return 404, f"The model `{body['model']}` does not exist"
    if sum(len(turn["content"]) for turn in body["messages"]) > api.context:
        return 400, f"This model's maximum context length is {api.context} tokens"
    for name in api.refuses:
        if name in body:
            said = "Use 'max_completion_tokens' instead" if name == "max_tokens" else "It is not supported"
            return 400, f"Unsupported parameter: '{name}'. {said}."
    return None


def _handler(api: KeyedApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            if self._is_let_in() and self._is_at("/v1/models"):
                self._json(200, {"object": "list", "data": [{"id": name} for name in api.models]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with api.lock:
                api.requests.append(body)
                api.headers.append(dict(self.headers))
                api.at_once += 1
                api.most_at_once = max(api.most_at_once, api.at_once)
                trouble = api.trouble.pop(0) if api.trouble else api.every(len(api.requests))
            try:
                with suppress(BrokenPipeError, ConnectionResetError):
                    self._meet(body, trouble)
            finally:
                with api.lock:
                    api.at_once -= 1

        def _meet(self, body: Body, trouble: Trouble | None) -> None:
            if not (self._is_let_in() and self._is_at("/v1/chat/completions")):
                return
            if refusal := _refusal(api, body):
                self._error(*refusal)
            elif trouble is None:
                self._answer(body)
            elif trouble.hang_seconds:
                time.sleep(trouble.hang_seconds)
                self.close_connection = True
            elif trouble.cut or trouble.drip_seconds:
                self._answer(body, cut=trouble.cut, drip=trouble.drip_seconds)
            else:
                self._send(trouble.status, trouble.body.encode(), trouble.headers)

        def _is_at(self, path: str) -> bool:
            if self.path != path:
                self._send(404, b"<html>Not found</html>", {})
            return self.path == path

        def _is_let_in(self) -> bool:
            sent = self.headers.get("Authorization", "")
            if api.key and sent != f"Bearer {api.key}":
                self._error(401, f"Incorrect API key provided: {sent}")
                return False
            return True

        def _answer(self, body: Body, cut: bool = False, drip: float = 0.0) -> None:
            time.sleep(api.seconds)
            with api.lock:
                api.billed.append(body)
            if body.get("stream"):
                self._stream(body, cut, drip)
                return
            data = json.dumps(_answered(api, body)).encode()
            if not (cut or drip):
                self._send(200, data, {})
                return
            self._head(200, len(data), {})
            self.wfile.write(data[: len(data) // 2])
            time.sleep(drip)
            if cut:
                self.close_connection = True
            else:
                self.wfile.write(data[len(data) // 2 :])

        def _stream(self, body: Body, cut: bool, drip: float) -> None:
            self.close_connection = True
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            answered = _answered(api, body)
            if api.reasoning:
                self._event({"choices": [{"delta": {"reasoning": api.reasoning}}]})
            for word in api.answer(body).split(" "):
                self._event({"choices": [{"delta": {"content": word + " "}, "finish_reason": None}]})
                time.sleep(drip)
                if cut:
                    return
            self._event({"choices": [{"delta": {}, "finish_reason": api.finish}]})
            self._event({"choices": [], "usage": answered["usage"]})
            self.wfile.write(b"data: [DONE]\n\n")

        def _event(self, event: Body) -> None:
            self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")

        def _error(self, status: int, message: str) -> None:
            code = {401: "invalid_api_key", 404: "model_not_found"}.get(status, "invalid_request_error")
            self._json(status, {"error": {"message": message, "code": code}})

        def _json(self, status: int, body: Any) -> None:
            self._send(status, json.dumps(body).encode(), {})

        def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
            self._head(status, len(data), headers)
            self.wfile.write(data)

        def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(length))
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
