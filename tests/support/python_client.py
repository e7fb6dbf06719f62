"""The Python client, made of the schema of the code under test."""

from __future__ import annotations

import importlib
import sys
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
from django.test import Client

from config.client.package import load_schema, write_client


def write_python_client(folder: Path) -> Path:
    """Write the package as script/client does, and return the folder to import it from."""
    write_client(load_schema(), folder)
    return folder


def import_python_client(folder: Path) -> ModuleType:
    sys.path.insert(0, str(write_python_client(folder)))
    return importlib.import_module("assay_client")


Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


@dataclass
class Script(httpx.BaseTransport):
    """A server that answers as it is told, in order, and keeps what it was sent."""

    answers: list[Answer]
    requests: list[httpx.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    largest: int = 0  # bytes of a body that were handed over at once

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        chunks = list(self._chunks(request))
        self.bodies.append(b"".join(chunks))
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else answer(request)

    def _chunks(self, request: httpx.Request) -> Iterator[bytes]:
        assert isinstance(request.stream, httpx.SyncByteStream)
        for chunk in request.stream:
            self.largest = max(self.largest, len(chunk))
            yield chunk


class InProcess(httpx.BaseTransport):
    """The site of the test itself, by Django's test client."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        headers = dict(request.headers)
        kind = headers.pop("content-type", "application/json")
        address = request.url.raw_path.decode()
        site = Client(raise_request_exception=False)
        response = site.generic(request.method, address, request.read(), kind, headers=headers)
        return httpx.Response(response.status_code, content=response.getvalue(), headers=dict(response.items()))


def answer(status: int, body: Any = None, **headers: str) -> httpx.Response:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=body, headers=headers)


def as_sent(kind: Any, **known: Any) -> dict[str, Any]:
    """Return a row as the server would send it: of a dataclass, empty but for what is known."""
    return {name: _empty(hint) for name, hint in typing.get_type_hints(kind).items()} | known


def _empty(hint: Any) -> Any:
    arguments = typing.get_args(hint)
    if type(None) in arguments:
        return None
    if typing.get_origin(hint) is typing.Literal:
        return arguments[0]
    plain = {str: "", int: 0, float: 0, bool: False, datetime: "2026-11-01T10:00:00Z", Any: {}}
    return plain[hint] if hint in plain else (typing.get_origin(hint) or dict)()
