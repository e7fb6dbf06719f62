"""A model server for tests: real sockets and server-sent events, answers as the test tells it to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tests.support.stub_server import JsonHandler, serve


@dataclass
class FakeServer:
    """`answer` maps a request to the pieces of an answer; a piece may be bytes (sent raw) or a pause, too."""

    url: str = ""
    answer: Callable[[dict[str, Any]], list[Any]] = lambda body: ["Hello ", "there."]
    status: int = 200
    error: str = "it broke"
    finishes: bool = True
    reason: Callable[[dict[str, Any]], str] = lambda body: "stop"
    models: list[str] = field(default_factory=list)  # none: it loads what it is asked for
    requests: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def openai_server() -> Iterator[FakeServer]:
    fake = FakeServer()

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            self.send_json(200, {"object": "list", "data": [{"id": name} for name in fake.models]})

        def do_POST(self) -> None:
            body = self.read_json()
            fake.requests.append(body)
            if fake.status != 200:
                self.send_json(fake.status, {"error": fake.error})
            elif body.get("stream"):
                with suppress(BrokenPipeError):  # whoever asked has left
                    self._stream(body)
            else:
                text = "".join(piece for piece in fake.answer(body) if isinstance(piece, str))
                choice = {"message": {"role": "assistant", "content": text}, "finish_reason": fake.reason(body)}
                self.send_json(200, {"choices": [choice], "usage": {"completion_tokens": len(text.split())}})

        def _stream(self, body: dict[str, Any]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            tokens = 0
            for piece in fake.answer(body):
                if isinstance(piece, float):
                    time.sleep(piece)
                elif isinstance(piece, bytes):
                    self.wfile.write(piece)
                else:
                    tokens += 1
                    self._event({"choices": [{"delta": {"content": piece}, "finish_reason": None}]})
                self.wfile.flush()
            if fake.finishes:
                self._event({"choices": [{"delta": {}, "finish_reason": fake.reason(body)}]})
                self._event({"choices": [], "usage": {"completion_tokens": tokens}})
                self.wfile.write(b"data: [DONE]\n\n")

        def _event(self, event: dict[str, Any]) -> None:
            self.wfile.write(b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n")

    with serve(Handler) as fake.url:
        yield fake
