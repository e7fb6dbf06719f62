"""A judge behind a real local HTTP server that speaks OpenAI's protocol, and misbehaves as it is told.

with judge_server(lambda shown: "[[A]]") as judge:
    judge.url, judge.requests, judge.trouble.append((503, {}, "busy"))
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.stub_server import serve

Opinion = Callable[[str], str | None]  # of the text with both answers


@dataclass
class JudgeServer:
    """`trouble` are answers that come first, one for each request: (status, headers, body)."""

    opinion: Opinion
    url: str = ""
    key: str = ""  # asked for, when there is one
    trouble: list[tuple[int, dict[str, str], str]] = field(default_factory=list)
    refuses: tuple[str, ...] = ()  # names in a body that are answered with 400
    requests: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    most_at_once: int = 0
    at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def judge_server(opinion: Opinion) -> Iterator[JudgeServer]:
    judge = JudgeServer(opinion)
    with serve(_handler(judge)) as judge.url:
        yield judge


def _handler(judge: JudgeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with judge.lock:
                judge.requests.append(body)
                judge.paths.append(self.path)
                judge.at_once += 1
                judge.most_at_once = max(judge.most_at_once, judge.at_once)
                trouble = judge.trouble.pop(0) if judge.trouble else None
            try:
                self._say(*(trouble or self._answer(body)))
            finally:
                with judge.lock:
                    judge.at_once -= 1

        def _answer(self, body: dict[str, Any]) -> tuple[int, dict[str, str], str]:
            if judge.key and self.headers.get("Authorization") != f"Bearer {judge.key}":
                return 401, {}, f"no such key: {self.headers.get('Authorization')}"
            for name in judge.refuses:
                if name in body:
                    return 400, {}, f"{name} is not supported; use max_completion_tokens instead of max_tokens"
            reply = judge.opinion(body["messages"][-1]["content"])
            told = {"choices": [{"message": {"role": "assistant", "content": reply}, "finish_reason": "stop"}]}
            return 200, {}, json.dumps(told)

        def _say(self, status: int, headers: dict[str, str], body: str) -> None:
            data = body.encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
