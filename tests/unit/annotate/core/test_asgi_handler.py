"""Requests as they come in over ASGI, through annotate.core.asgi.handler."""

from __future__ import annotations

import asyncio
import re
import threading
from contextlib import suppress
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from annotate.core.asgi import handler as handlers
from annotate.core.asgi.handler import THREADS, Handler

closed: list[str] = []
threads: set[str] = set()


def plain(request: HttpRequest) -> HttpResponse:
    threads.add(threading.current_thread().name)
    return HttpResponse(f"{request.method} {request.body.decode()}")


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("nobody expected this")


def endless(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> Any:
        try:
            while True:
                yield b"more "
                await asyncio.sleep(0)
        finally:
            closed.append("generator")

    response = StreamingHttpResponse(parts())
    response._resource_closers.append(lambda: closed.append("response"))
    return response


def held(request: HttpRequest) -> HttpResponse:
    open_doors.wait(10)
    return HttpResponse("held")


open_doors = threading.Event()
urlpatterns = [path("plain/", plain), path("broken/", broken), path("endless/", endless), path("held/", held)]


@pytest.fixture(autouse=True)
def _own_urls(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = []
    closed.clear()
    threads.clear()


def asked(handler: Handler, address: str, method: str = "GET") -> ApplicationCommunicator:
    headers = [(b"host", b"testserver")]
    scope = {"type": "http", "method": method, "path": address, "query_string": b"", "headers": headers}
    return ApplicationCommunicator(handler, scope)


async def answer(handler: Handler, address: str, body: bytes = b"", method: str = "GET") -> tuple[int, bytes]:
    connection = asked(handler, address, method)
    await connection.send_input({"type": "http.request", "body": body, "more_body": False})
    start = await connection.receive_output(5)
    content = await connection.receive_output(5)
    await connection.wait(5)
    return start["status"], content["body"]


async def test_a_request_is_answered_with_its_body() -> None:
    assert await answer(Handler(), "/plain/", b"said", "POST") == (200, b"POST said")


async def test_many_at_once_share_the_threads() -> None:
    handler = Handler()
    answers = await asyncio.gather(*(answer(handler, "/plain/", str(i).encode()) for i in range(3 * THREADS)))
    assert answers == [(200, f"GET {i}".encode()) for i in range(3 * THREADS)]
    assert len(threads) <= THREADS
    assert all(name.startswith("request") for name in threads)


async def test_nobody_stands_behind_a_crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "THREADS", 3)
    monkeypatch.setattr(handlers, "CROWDED", 2)
    handler = Handler(re.compile("/battles/$"), re.compile("/held/$"))
    crowd = [asyncio.create_task(answer(handler, "/held/")) for _ in range(12)]
    await asyncio.sleep(0.1)
    crowd.pop().cancel()  # who leaves while standing in line takes no place along
    assert [await answer(handler, "/plain/") for _ in range(5)] == [(200, b"GET ")] * 5
    open_doors.set()
    assert await asyncio.gather(*crowd) == [(200, b"held")] * 11
    assert ([few._value for _, few in handler._few], handler._places._value) == ([2, 2], 3)


async def test_an_error_of_a_view_is_a_response(settings: Any) -> None:
    settings.DEBUG_PROPAGATE_EXCEPTIONS = False
    status, _ = await answer(Handler(), "/broken/")
    assert status == 500


async def test_a_stream_ends_when_nobody_listens_any_more() -> None:
    connection = asked(Handler(), "/endless/")
    await connection.send_input({"type": "http.request", "body": b"", "more_body": False})
    assert (await connection.receive_output(5))["status"] == 200
    assert (await connection.receive_output(5))["body"] == b"more "
    await connection.send_input({"type": "http.disconnect"})
    with suppress(asyncio.CancelledError):
        await connection.wait(5)
    assert sorted(closed) == ["generator", "response"]


async def test_whoever_leaves_before_the_body_is_there_is_not_answered() -> None:
    connection = asked(Handler(), "/plain/", "POST")
    await connection.send_input({"type": "http.disconnect"})
    await connection.wait(5)
    assert connection.output_queue.empty()
    assert not threads
