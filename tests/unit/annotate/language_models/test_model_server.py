"""The model server through the OpenAI protocol: answers in pieces, and every mishap in words."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler

import pytest

from annotate.language_models import model_server, model_server_errors
from annotate.models import LanguageModel
from tests.support.annotate.openai_server import FakeServer, openai_server
from tests.support.stub_server import serve

QUESTION = [{"role": "user", "content": "Why?"}]
SAMPLING = {"max_new_tokens": 20, "temperature": 0.5, "top_p": 0.9, "seed": 7}


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with openai_server() as server:
        yield server


def model_at(url: str) -> LanguageModel:
    return LanguageModel(name="Secret", endpoint=url, served_name="secret-served")


async def stream(url: str) -> list[model_server.Piece]:
    return [piece async for piece in model_server.stream_chat(model_at(url), QUESTION, **SAMPLING)]


async def failure(url: str) -> model_server_errors.ModelServerError:
    with pytest.raises(model_server_errors.ModelServerError) as caught:
        await stream(url)
    return caught.value


async def test_an_answer_arrives_in_pieces_with_its_end_and_its_tokens(fake):
    pieces = await stream(fake.url)
    assert [piece.text for piece in pieces] == ["Hello ", "there.", ""]
    assert (pieces[-1].finish_reason, pieces[-1].tokens) == ("stop", 2)


async def test_the_request_carries_the_sampling_settings(fake):
    await stream(fake.url)
    sent = fake.requests[0]
    assert sent["model"] == "secret-served" and sent["messages"] == QUESTION
    assert (sent["max_tokens"], sent["temperature"], sent["top_p"], sent["seed"]) == (20, 0.5, 0.9, 7)


async def test_unicode_line_separators_do_not_break_an_answer(fake):
    text = "one\u2028two\u0085three\x0bfour"
    fake.answer = lambda body: [text]
    assert "".join(piece.text for piece in await stream(fake.url)) == text


def test_a_whole_answer_at_once(fake):
    reply = model_server.complete_chat(model_at(fake.url), QUESTION, **SAMPLING)
    assert reply == model_server.Reply("Hello there.", "stop", 2)


async def test_a_server_that_is_not_there(fake, unused_tcp_port):
    error = await failure(f"http://127.0.0.1:{unused_tcp_port}/v1")
    assert "cannot be reached" in error.what and "try again" in error.remedy


async def test_a_server_that_stays_silent(fake, settings):
    settings.MODEL_SERVER_TIMEOUT = 0.1
    fake.answer = lambda body: [1.0, "late"]
    assert "sent nothing for 0.1 seconds" in (await failure(fake.url)).what


async def test_a_stream_that_drips_is_not_read_without_an_end(fake, settings):
    settings.MODEL_SERVER_TIMEOUT = 0.1
    fake.answer = lambda body: [part for _ in range(60) for part in (0.05, "a")]
    started = time.monotonic()
    assert await failure(fake.url)
    assert time.monotonic() - started < 1.5


@contextmanager
def dripping() -> Iterator[str]:
    """A server whose answers come one byte at a time, and never whole."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(200)
            self.send_header("Content-Length", "60")
            self.end_headers()
            with suppress(OSError):
                for _ in range(60):
                    self.wfile.write(b" ")
                    time.sleep(0.05)

        do_POST = do_GET

        def log_message(self, *args) -> None:
            pass

    with serve(Handler) as url:
        yield url


def test_a_whole_answer_that_drips_is_not_read_without_an_end(settings):
    settings.MODEL_SERVER_TIMEOUT = 0.1
    with dripping() as url:
        for ask in (
            lambda: model_server.complete_chat(model_at(url), QUESTION, **SAMPLING),
            lambda: model_server.served_models(url),
        ):
            started = time.monotonic()
            with pytest.raises(model_server_errors.ModelServerError):
                ask()
            assert time.monotonic() - started < 1.5


async def test_a_server_that_dies_in_the_middle(fake):
    fake.finishes = False
    assert "ended in the middle" in (await failure(fake.url)).what


@pytest.mark.parametrize(
    "raw", [b'data: {"error": "no memory"}\n\n', b'data: {"error": "a "quoted" one"}\n\n', b"data: 3\n\n"]
)
async def test_an_error_within_the_stream(fake, raw):
    fake.answer = lambda body: ["Hel", raw]
    assert await failure(fake.url)


@pytest.mark.parametrize(
    ("status", "word"), [(400, "refused"), (401, "accept the key"), (404, "know"), (429, "busy"), (500, "failed")]
)
async def test_an_http_error_is_said_without_what_the_server_said(fake, status, word):
    fake.status, fake.error = status, "cannot load /models/secret-served"
    error = await failure(fake.url)
    assert word in error.what
    assert "secret" not in str(error) and "secret-served" in error.detail


def test_the_list_of_models(fake):
    fake.models = ["served-one"]
    assert model_server.served_models(fake.url) == ["served-one"]


def test_an_address_that_is_no_openai_server(fake):
    fake.models = None  # type: ignore[assignment]
    with pytest.raises(model_server_errors.ModelServerError):
        model_server.served_models(fake.url)
