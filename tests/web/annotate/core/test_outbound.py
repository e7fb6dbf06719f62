"""What this server asks of addresses that others name: where it goes, how much it reads, and whom it tells."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler

import httpx
import pytest

from annotate.core.chat_api.refusals import Kind
from annotate.core.network import outbound
from annotate.language_models import model_server
from annotate.language_models.model_server_errors import ModelServerError, describe_for_researchers
from annotate.models import LanguageModel
from evaluation.recipes.judging.endpoint_judge import Ask, ask_all
from evaluation.recipes.judging.judge_access import Endpoint
from tests.support.factories import make_model
from tests.support.processes import ROOT
from tests.support.stub_server import serve
from training.core.run_directory import RecipeFailure
from training.runs.queue import asked_models

SECRET = "the metadata of the cloud"
HELLO = [{"role": "user", "content": "Hello"}]
HOW = {"max_new_tokens": 8, "temperature": 1.0, "top_p": 1.0}
LOCAL = ("127.0.0.1", "localhost")


@contextmanager
def server(answer: bytes = b"{}", status: int = 200, **headers: str) -> Iterator[tuple[str, list[str]]]:
    """(its address, the paths that were asked for)."""
    texts: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            texts.append(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            with suppress(OSError):  # whoever asked has read enough
                self.wfile.write(answer)

        do_GET = do_POST

    with serve(Handler) as url:
        yield url, texts


def completed(url: str) -> model_server.Reply:
    return model_server.complete_chat(make_model(endpoint=url, served_name="x"), HELLO, **HOW)


def streamed(url: str) -> str:
    async def read() -> str:
        model = model_server.LanguageModel(name="m", endpoint=url, served_name="x")
        return "".join([piece.text async for piece in model_server.stream_chat(model, HELLO, **HOW)])

    return asyncio.run(read())


def judged(url: str, tmp_path) -> dict:
    return ask_all(Endpoint(url, "j"), [Ask("0", HELLO, "a", "b")], tmp_path / "v.jsonl", lambda *_: None)


@pytest.fixture
def none_allowed(settings, monkeypatch):
    settings.PRIVATE_ENDPOINTS, settings.MODEL_SERVER_URL = (), "http://models.example.org/v1"
    monkeypatch.delenv(outbound.VARIABLE, raising=False)


@pytest.mark.django_db
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
def test_an_endpoint_inside_is_not_asked(none_allowed, host, monkeypatch):
    with server(json.dumps({"choices": [{"message": {"content": SECRET}}]}).encode()) as (url, asked):
        inside = url.replace("127.0.0.1", host)
        for ask in (completed, streamed, model_server.served_models):
            with pytest.raises(ModelServerError, match="operator"):
                ask(inside)
        assert not asked


@pytest.mark.django_db
def test_a_name_that_means_something_else_by_the_second_look_is_not_followed(none_allowed, monkeypatch):
    """It was public when the model was registered; now the same name leads inside."""
    with server() as (url, asked):
        port = int(url.split(":")[2].split("/")[0])
        answers = iter([[(2, 1, 6, "", ("127.0.0.1", port))]] * 4)
        monkeypatch.setattr("annotate.core.network.outbound.socket.getaddrinfo", lambda *_, **__: next(answers))
        with pytest.raises(ModelServerError):
            completed(f"http://rebound.example.org:{port}/v1")
        assert not asked


def test_the_connection_goes_to_the_address_that_was_judged(monkeypatch):
    """The second look-up would lead elsewhere: there is none."""
    with server(b'{"choices": [{"message": {"content": "Hi"}}]}') as (url, asked):
        port = int(url.split(":")[2].split("/")[0])
        looked = []
        monkeypatch.setattr(
            "annotate.core.network.outbound.socket.getaddrinfo",
            lambda *given, **_: looked.append(given) or [(2, 1, 6, "", ("127.0.0.1", port))],
        )
        with outbound.client(f"http://pinned.example.org:{port}/v1", allowed=LOCAL, timeout=httpx.Timeout(5)) as client:
            assert client.get("x").status_code == 200
        assert asked == ["/v1/x"]
        assert [given[0] for given in looked].count("pinned.example.org") == 1


@pytest.mark.django_db
def test_what_the_operator_names_is_asked(none_allowed, settings):
    with server(b'{"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}') as (url, _):
        for allowed in ("127.0.0.1", "127.0.0.0/8", url):
            settings.PRIVATE_ENDPOINTS = outbound.read_list(allowed)
            assert completed(url).text == "Hi"
        settings.PRIVATE_ENDPOINTS = ("10.0.0.0/8",)
        with pytest.raises(ModelServerError):
            completed(url)
        settings.PRIVATE_ENDPOINTS, settings.MODEL_SERVER_URL = (), url
        assert completed(url).text == "Hi", "the site's own model server"
        settings.MODEL_SERVER_URL = "http://127.0.0.1:9/v1"
        with pytest.raises(ModelServerError):
            completed(url)  # another port of that machine is not it


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "10.0.0.1", "64:ff9b::a00:1"])
def test_every_address_may_be_allowed(host):
    assert outbound.require_allowed(host, 80, outbound.EVERYWHERE) == [host]
    with pytest.raises(outbound.Refused):
        outbound.require_allowed(host, 80, ())


def test_nothing_else_here_is_a_client_of_what_others_name():
    """The simulated people know one address: this site's own. Single sign-on asks whom the operator names."""
    clients = re.compile(
        r"http\.client|urlopen|create_connection|httpx\.(Async)?Client\(|^import requests", re.MULTILINE
    )
    root = ROOT
    sources = [path for package in ("annotate", "evaluation", "training") for path in (root / package).rglob("*.py")]
    found = {str(path.relative_to(root)) for path in sources if clients.search(path.read_text())}
    assert found == {
        "annotate/core/network/outbound.py",
        "annotate/projects/accounts/single_sign_on.py",
        "annotate/simulation/client.py",
    }


@pytest.mark.django_db
def test_a_redirect_is_not_followed():
    with server() as (inside, asked), server(b"", 302, Location=inside) as (url, _):
        with pytest.raises(ModelServerError):
            completed(url)
        with pytest.raises(ModelServerError):
            streamed(url)
        assert not asked


@pytest.mark.django_db
@pytest.mark.parametrize("ask", [completed, streamed, model_server.served_models])
def test_an_answer_without_end_is_given_up(monkeypatch, ask):
    monkeypatch.setattr(outbound, "LONGEST_BODY", 2_000)
    monkeypatch.setattr(outbound.body_of, "__defaults__", (2_000,))
    monkeypatch.setattr(outbound.lines_of, "__defaults__", (2_000,))
    with (
        server(b"data: " + b"x" * 50_000) as (url, _),
        pytest.raises(ModelServerError, match="too long"),
    ):
        ask(url)


@pytest.mark.django_db
def test_a_line_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr(outbound, "LONGEST_LINE", 2_000)
    with (
        server(b"data: " + b"x" * 50_000) as (url, _),
        pytest.raises(ModelServerError, match="too long"),
    ):
        streamed(url)


@pytest.mark.django_db
@pytest.mark.parametrize("ask", [completed, streamed])
def test_what_comes_packed_is_not_unpacked(ask):
    """A good answer, and yet refused: a bound on bytes says nothing of what unpacks to a million times as many."""
    answer = {"choices": [{"message": {"content": "Hi"}, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}
    packed = gzip.compress(b"data: " * (ask is streamed) + json.dumps(answer).encode() + b"\n")
    refused = pytest.raises(ModelServerError, match="may not connect to the model server")
    with server(packed, Content_Encoding="gzip") as (url, _), refused:
        ask(url)


@pytest.mark.parametrize("status", [200, 302, 401, 404, 418, 500])
def test_a_judges_words_are_not_told_by_the_run(tmp_path, status, monkeypatch, capsys):
    """The run's page is read by everybody who reads the project; the log holds what the judge said."""
    monkeypatch.setattr("evaluation.recipes.judging.endpoint_judge.BACKOFF", 0.0)
    monkeypatch.setattr("evaluation.recipes.judging.endpoint_judge.GIVE_UP_AFTER", 1)
    body = SECRET.encode() if status != 200 else json.dumps({"choices": [{"message": {"content": SECRET}}]}).encode()
    with server(body, status) as (url, _):
        try:
            told = json.dumps(judged(url, tmp_path))
        except RecipeFailure as failure:
            told = f"{failure} {failure.remedy}"
    if status not in (200, 418):  # what is refused of one question is counted, and that no reply could be read is told
        assert str(status) in told
    assert SECRET not in told
    assert SECRET in capsys.readouterr().err


@pytest.mark.django_db
def test_what_an_endpoint_answers_is_told_to_nobody_and_the_sites_own_server_may_be_quoted(settings):
    with server(SECRET.encode(), 500) as (url, _):
        far = make_model(endpoint=url, served_name="x")
        settings.MODEL_SERVER_URL = url
        for model, is_quoted in ((far, False), (make_model(), True)):
            with pytest.raises(ModelServerError) as caught:
                model_server.complete_chat(model, HELLO, **HOW)
            assert (SECRET in describe_for_researchers(model, caught.value)) is is_quoted


def test_a_judge_inside_is_asked_only_where_the_operator_names_it(tmp_path, monkeypatch):
    monkeypatch.setenv(outbound.VARIABLE, "")
    with server() as (url, asked):
        with pytest.raises(RecipeFailure, match="operator") as caught:
            judged(url, tmp_path)
        assert caught.value.code == "judge_refused" and not asked


def test_a_judge_that_never_ends_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(outbound.body_of, "__defaults__", (2_000,))
    monkeypatch.setattr("evaluation.recipes.judging.endpoint_judge.BACKOFF", 0.0)
    with server(b" " * 50_000) as (url, _), pytest.raises(RecipeFailure, match="longer"):
        judged(url, tmp_path)


@pytest.mark.django_db
def test_a_name_that_means_the_sites_own_server_by_now_is_not_asked(settings, project):
    """It loads whatever folder it is asked for: a project's model may not reach it by a name of its researchers."""
    settings.PRIVATE_ENDPOINTS = LOCAL
    with server() as (url, texts):
        settings.MODEL_SERVER_URL = url
        alias = url.replace("127.0.0.1", "localhost")
        model = make_model(endpoint=alias, served_name="/data/runs/7/model", project=project)
        for ask in (
            lambda: model_server.complete_chat(model, HELLO, **HOW),
            lambda: read_stream(model),
            lambda: model_server.is_in_memory(model),
        ):
            with pytest.raises(ModelServerError) as refused:
                ask()
            assert refused.value.kind == Kind.PRIVATE
        with pytest.raises(httpx.HTTPError), httpx_client(alias, model) as client:
            client.get("models")
        assert texts == []
        with suppress(ModelServerError):  # what staff have registered
            model_server.complete_chat(make_model(endpoint=alias, served_name="x"), HELLO, **HOW)
        assert texts == ["/v1/chat/completions"]


def httpx_client(url: str, model: LanguageModel) -> httpx.Client:
    """As a recipe asks: by what its run's directory says."""
    allowed = asked_models._described(model)["allowed"]
    return outbound.client(url, allowed=allowed, timeout=httpx.Timeout(5))


def read_stream(model: LanguageModel) -> None:
    async def read() -> None:
        async for _ in model_server.stream_chat(model, HELLO, **HOW):
            pass

    asyncio.run(read())


@pytest.mark.django_db
def test_a_server_that_is_away_is_started_by_whoever_it_is_of(settings):
    settings.PRIVATE_ENDPOINTS, settings.MODEL_SERVER_URL = LOCAL, "http://127.0.0.1:9/v1"
    with pytest.raises(ModelServerError, match="script/server"):
        model_server.complete_chat(make_model(), HELLO, **HOW)
    with pytest.raises(ModelServerError, match="the person who registered the model") as refused:
        completed("http://127.0.0.1:10/v1")
    assert "script/server" not in str(refused.value)
