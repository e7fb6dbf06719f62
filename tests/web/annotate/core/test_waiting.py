"""Whoever waits for a model holds nobody up: places of requests, bounds of waiting, of sockets and of bodies."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import types
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import path, reverse
from django.utils import timezone

from annotate.arena.streaming import answer_writer, heartbeat
from annotate.arena.urls import WHERE_BATTLES_BEGIN
from annotate.consumers import BattleConsumer
from annotate.core.api import idempotency
from annotate.core.asgi import database_threads as database
from annotate.core.asgi import handler as handlers
from annotate.core.asgi import request_bodies, waiting
from annotate.core.asgi import socket_limits as sockets
from annotate.core.asgi.handler import Handler
from annotate.core.db.connections import database_now
from annotate.core.errors import TooMany
from annotate.core.large_uploads import takes_files
from annotate.core.visitors import networks_of
from annotate.models import Battle
from tests.support import factories
from tests.support.processes import ROOT
from training.runs.live_pages import LivePage

doors = {"open": threading.Event()}
SUBSCRIBER = "2001:db8:7:1234::1"


def from_address(address: str) -> HttpRequest:
    return RequestFactory().get("/", REMOTE_ADDR=address)


def quick(request: HttpRequest) -> HttpResponse:
    return HttpResponse("quick")


def slow(request: HttpRequest) -> HttpResponse:
    """As a page that waits for a model."""

    async def wait() -> bool:
        async with waiting.aside(f"visitor:{request.GET['who']}") as has_room:
            while has_room and not doors["open"].is_set():
                await asyncio.sleep(0.01)
            return has_room

    return HttpResponse("waited" if async_to_sync(wait)() else "did not wait")


def thread(request: HttpRequest) -> HttpResponse:
    """As one whose thread asks a model itself."""
    try:
        with waiting.aside_in_thread(f"user:{request.GET['who']}"):
            doors["open"].wait(10)
    except TooMany:
        return HttpResponse("did not wait")
    return HttpResponse("waited")


def body(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(request.body)))


files = takes_files(lambda request: HttpResponse(str(sum(len(file) for file in request.FILES.values()))))
urlpatterns = [
    path("quick/", quick),
    path("slow/", slow),
    path("thread/", thread),
    path("body/", body),
    path("files/", files),
]


@pytest.fixture
def own_urls(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = []
    doors["open"] = threading.Event()


def ask(handler: Handler, address: str, query: bytes = b"", *headers: tuple[bytes, bytes]) -> ApplicationCommunicator:
    scope = {
        "type": "http",
        "method": "POST",
        "path": address,
        "query_string": query,
        "headers": [(b"host", b"testserver"), *headers],
    }
    return ApplicationCommunicator(handler, scope)


async def answer(asked: ApplicationCommunicator, *parts: bytes) -> tuple[int, bytes]:
    for part in parts:
        await asked.send_input({"type": "http.request", "body": part, "more_body": True})
    if asked.future.done() is False:
        await asked.send_input({"type": "http.request", "body": b"", "more_body": False})
    status = (await asked.receive_output(10))["status"]
    return status, (await asked.receive_output(10))["body"]


@pytest.mark.parametrize("how", ["/slow/", "/thread/"])
async def test_requests_that_wait_for_a_model_take_nobody_s_place(own_urls: None, monkeypatch: Any, how: str) -> None:
    monkeypatch.setattr(handlers, "THREADS", 3)
    handler = Handler()
    waits = [asyncio.create_task(answer(ask(handler, how, b"who=%d" % n))) for n in range(12)]
    await asyncio.sleep(0.3)
    assert [await asyncio.wait_for(answer(ask(handler, "/quick/")), 5) for _ in range(5)] == [(200, b"quick")] * 5
    assert not any(task.done() for task in waits)
    doors["open"].set()
    assert await asyncio.gather(*waits) == [(200, b"waited")] * 12
    assert not waiting.waits.running and handler._places._value == 3


def test_battles_begin_at_the_addresses_that_crowds_ask_for() -> None:
    begin = "/api/v1/battles/", reverse("arena", args=["tea"])
    go_on = "/api/v1/battles/x/vote/", reverse("arena-vote", args=["tea", uuid.uuid4()])
    assert all(map(WHERE_BATTLES_BEGIN.search, begin)) and not any(map(WHERE_BATTLES_BEGIN.search, go_on))


@pytest.mark.parametrize("how", ["/slow/", "/thread/"])
async def test_one_person_one_address_and_all_together_wait_for_so_many_and_no_more(own_urls: None, how: str) -> None:
    handler = Handler()
    waits = [asyncio.create_task(answer(ask(handler, how, b"who=me"))) for _ in range(waiting.waits.of_one)]
    await asyncio.sleep(0.3)
    assert await asyncio.wait_for(answer(ask(handler, how, b"who=me")), 5) == (200, b"did not wait")
    doors["open"].set()
    await asyncio.gather(*waits)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("key", ["", "address", "/56", "/48", "visitor"])
def test_a_battle_that_would_have_to_wait_is_refused_with_a_remedy(client, key):
    project = factories.make_project()
    for _ in range(2):
        factories.make_contestant(project)
    sent = {"project": project.slug, "text": "Why?"}
    token = "t" * 32
    from annotate.core.api import lookup

    address = networks_of(from_address(SUBSCRIBER))
    keys = {"": "", "visitor": f"visitor:{lookup.visitor_of_token(token)}"}
    keys |= dict(zip(("address", "/56", "/48"), (network for network, _ in address), strict=True))
    waiting.waits.running[keys[key]] = waiting.MOST
    try:
        how: dict[str, Any] = {"content_type": "application/json", "headers": {"Visitor": token}}
        reply = client.post("/api/v1/battles/", json.dumps(sent), REMOTE_ADDR=SUBSCRIBER, **how)
        assert reply.status_code == 429 and "wait=0" in reply.json()["errors"]["wait"] and reply["Retry-After"]
        assert not Battle.objects.exists()
    finally:
        waiting.waits.running.clear()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("status", [400, 409])
def test_whoever_is_refused_keeps_no_place_asleep(client, monkeypatch, status):
    """For a twin's answer: forty bad requests of one visitor with forty keys would hold all places."""
    slept: list[float] = []
    clock = types.SimpleNamespace(sleep=slept.append, monotonic=itertools.count(0, 0.2).__next__)
    monkeypatch.setattr(idempotency, "time", clock)
    if status == 409:  # where a twin may have been first a few wait, and no more
        monkeypatch.setattr(idempotency, "_twins", threading.BoundedSemaphore(1), raising=False)
        idempotency._twins.acquire()
    project = factories.make_project()
    sent = {"project": project.slug, "text": " " if status == 400 else "Why?"}
    reply = client.post(
        "/api/v1/battles/", json.dumps(sent), content_type="application/json", headers={"Idempotency-Key": "k"}
    )
    assert (reply.status_code, slept) == (status, [])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("network", [None, 0, 1, 2])
def test_a_page_that_would_have_to_wait_is_refused_with_a_remedy(network):
    project, client = factories.make_project(), Client(REMOTE_ADDR=SUBSCRIBER)
    for _ in range(2):
        factories.make_contestant(project)
    page = client.post(f"/p/{project.slug}/arena/", {"text": "Why?"})
    waiting.waits.running["" if network is None else networks_of(from_address(SUBSCRIBER))[network][0]] = waiting.MOST
    try:
        reply = client.get(f"{page.url}?wait")
        assert reply.status_code == 429 and "look again" in reply.content.decode()
    finally:
        waiting.waits.running.clear()


async def test_one_subscriber_s_many_networks_do_not_take_all_waits(monkeypatch):
    monkeypatch.setattr(waiting.waits, "most", 8)
    async with AsyncExitStack() as stack:
        waits = [
            await stack.enter_async_context(
                waiting.aside(f"visitor:{n}", networks_of(from_address(f"2001:db8:1:{n:x}00::1")))
            )
            for n in range(6)
        ]
        assert waits == [True] * 4 + [False] * 2
        elsewhere = waiting.aside("visitor:elsewhere", networks_of(from_address("2001:db8:2::1")))
        assert await stack.enter_async_context(elsewhere) is True
    assert not waiting.waits.running


# Sockets


async def open_socket(app: Any, *, session: str = "", address: str = "203.0.113.7") -> ApplicationCommunicator:
    headers = [(b"cookie", f"sessionid={session}".encode())] if session else []
    socket = ApplicationCommunicator(app, {"type": "websocket", "headers": headers, "client": (address, 1)})
    await socket.send_input({"type": "websocket.connect"})
    return socket


async def stays_open(scope: Any, receive: Any, send: Any) -> None:
    while (message := await receive())["type"] != "websocket.disconnect":
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})


@pytest.mark.parametrize("what", ["of_one", "of_network", "most"])
async def test_sockets_are_bounded_for_a_browser_an_address_and_in_all(monkeypatch, what):
    app = sockets.Bounded(stays_open)
    monkeypatch.setattr(app.sockets, what, 2)
    # Each bound alone: other browsers, or other addresses, do not matter to it.
    who = [
        {
            "session": "mine" if what == "of_one" else f"s{n}",
            "address": "203.0.113.7" if what == "of_network" else f"203.0.113.{n}",
        }
        for n in range(3)
    ]
    held = [await open_socket(app, **one) for one in who[:2]]
    assert [(await socket.receive_output(5))["type"] for socket in held] == ["websocket.accept"] * 2
    refused = await open_socket(app, **who[2])
    assert await refused.receive_output(5) == {"type": "websocket.close", "code": sockets.TRY_AGAIN_LATER}
    await held[0].send_input({"type": "websocket.disconnect", "code": 1001})
    await held[0].wait(5)
    again = await open_socket(app, **who[2])
    assert (await again.receive_output(5))["type"] == "websocket.accept"


async def test_one_subscriber_s_many_networks_do_not_have_all_sockets(monkeypatch):
    app = sockets.Bounded(stays_open)
    monkeypatch.setattr(app.sockets, "most", 4)
    held = [await open_socket(app, address=f"2001:db8:1:{n:x}00::1") for n in range(3)]
    said = [(await socket.receive_output(5))["type"] for socket in held]
    assert said == ["websocket.accept"] * 2 + ["websocket.close"]
    elsewhere = await open_socket(app, address="2001:db8:2::1")
    assert (await elsewhere.receive_output(5))["type"] == "websocket.accept"


@pytest.mark.django_db(transaction=True)  # channels looks at connections before each message
async def test_live_pages_ask_the_database_in_threads_of_their_own(own_urls: None) -> None:
    """As many as hang there leave requests theirs."""
    names: list[str] = []

    def hangs(_: Any) -> None:
        names.append(threading.current_thread().name)
        doors["open"].wait(10)

    kinds: list[Any] = [
        type("Run", (LivePage,), {"open": hangs, "right": "anybody"}),
        type("Battle", (BattleConsumer,), {"_battle": hangs}),
    ]
    scope = {"type": "websocket", "query_string": b"", "headers": []}
    pages = [ApplicationCommunicator(kind.as_asgi(), scope) for _ in range(database.THREADS) for kind in kinds]
    for page in pages:
        await page.send_input({"type": "websocket.connect"})
    async with asyncio.timeout(20):
        while len(names) < database.THREADS:
            await asyncio.sleep(0.05)
    assert await asyncio.wait_for(answer(ask(Handler(), "/quick/")), 5) == (200, b"quick")
    assert len(names) == database.THREADS, "the others wait for one of these"
    doors["open"].set()
    for page in pages:
        while (await page.receive_output(5))["type"] != "websocket.close":
            pass
    assert len(names) == len(pages) and {name.partition("_")[0] for name in names} == {"live"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("refused", ["websocket.accept", "websocket.send", "websocket.close"])
async def test_whoever_leaves_a_live_page_is_no_fault_of_it(refused: str, caplog: pytest.LogCaptureFixture) -> None:
    """A server refuses by an OSError what is sent to somebody who has gone."""
    page = type("Run", (LivePage,), {"open": lambda _: True, "updates": lambda _: ("<p>", True), "right": "anybody"})
    arriving: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    sent = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])
        if message["type"] == refused:
            arriving.put_nowait({"type": "websocket.disconnect", "code": 1006})
            raise ConnectionResetError

    arriving.put_nowait({"type": "websocket.connect"})
    async with asyncio.timeout(10):
        await page.as_asgi()({"type": "websocket", "query_string": b"", "headers": []}, arriving.get, send)
    assert refused in sent and not caplog.records


def test_no_other_place_crosses_into_a_thread_for_the_database() -> None:
    root = ROOT
    sources = [path for app in ("annotate", "training", "evaluation") for path in (root / app).rglob("*.py")]
    found = {str(path.relative_to(root)) for path in sources if "database_sync_to_async(" in path.read_text()}
    bodies = "annotate/core/asgi/request_bodies.py"  # asks once for each large request, before its view has a thread
    assert found == {"annotate/core/asgi/database_threads.py", bodies}


# Bodies


async def test_a_body_is_refused_by_its_length_before_any_of_it_is_read(own_urls: None, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    asked = ask(Handler(), "/body/", b"", (b"content-length", b"1001"))
    status, words = (await asked.receive_output(5))["status"], (await asked.receive_output(5))["body"]
    assert status == 413 and b"1,000 bytes" in words


async def test_a_body_of_no_told_length_is_refused_as_soon_as_it_is_too_long(own_urls: None, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    asked = ask(Handler(), "/body/")
    for _ in range(3):
        await asked.send_input({"type": "http.request", "body": b"x" * 400, "more_body": True})
    assert (await asked.receive_output(5))["status"] == 413
    assert await answer(ask(Handler(), "/body/"), b"x" * 400, b"x" * 600) == (200, b"1000")


async def test_a_body_whose_last_part_is_too_much_is_not_taken_without_it(
    own_urls: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    monkeypatch.setattr(request_bodies, "_may_be_large", lambda scope: True)
    monkeypatch.setattr(request_bodies, "LARGEST_UPLOAD", 2000 - request_bodies.FORM_BYTES)
    asked = ask(Handler(), "/body/")
    await asked.send_input({"type": "http.request", "body": b"x" * 1500, "more_body": True})
    await asked.send_input({"type": "http.request", "body": b"x" * 600, "more_body": False})
    assert (await asked.receive_output(5))["status"] == 413


@pytest.mark.django_db(transaction=True)
async def test_a_large_file_is_taken_where_files_are_of_whoever_is_signed_in(own_urls: None, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    stranger = ask(Handler(), "/files/", b"", (b"content-length", b"5000"))
    assert (await stranger.receive_output(5))["status"] == 413

    def sign_in() -> bytes:
        client = Client()
        client.force_login(factories.make_user())
        return client.cookies["sessionid"].value.encode()

    cookie = (b"cookie", b"sessionid=" + await sync_to_async(sign_in)())
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + b"x" * 5000 + b"\r\n--b--\r\n"
    kind = (b"content-type", b"multipart/form-data; boundary=b")
    length = (b"content-length", str(len(form)).encode())
    assert await answer(ask(Handler(), "/files/", b"", cookie, kind, length), form) == (200, b"5000")
    elsewhere = ask(Handler(), "/body/", b"", cookie, kind, length)
    assert (await elsewhere.receive_output(5))["status"] == 413


# Battles that are being written


@pytest.mark.django_db
def test_all_battles_of_a_process_beat_by_one_statement_and_keep_only_their_own_drafts(django_assert_num_queries):
    project = factories.make_project()
    prompt, models = factories.make_prompt(project), [factories.make_model(), factories.make_model()]
    fields = {"project": project, "prompt": prompt, "model_a": models[0], "model_b": models[1], "draft_a": "before"}
    battles = [Battle.objects.create(claim=uuid.uuid4(), visitor=str(n), **fields) for n in range(5)]
    notes = [
        heartbeat._Note(battle.pk, battle.claim, (f"a{n}", f"b\x00{n}"), n % 2 == 0) for n, battle in enumerate(battles)
    ]
    Battle.objects.filter(pk=battles[1].pk).update(claim=uuid.uuid4())  # somebody else has taken it up
    Battle.objects.filter(pk=battles[2].pk).update(stop_asked_at=timezone.now())
    with django_assert_num_queries(3):  # what time it is, one for all battles, and who is to stop
        stopping = heartbeat._write(notes, {battle.claim: battle.pk for battle in battles})
    assert stopping == {battles[2].claim}
    drafts = Battle.objects.order_by("pk").values_list("draft_a", "draft_b")
    assert list(drafts) == [("a0", "b0"), ("before", ""), ("a2", "b2"), ("before", ""), ("a4", "b4")]
    assert Battle.objects.exclude(claimed_until=None).count() == 4


@pytest.mark.django_db
@pytest.mark.parametrize("hours", [-1, 1])
def test_a_battle_is_taken_up_and_kept_by_the_databases_clock(monkeypatch, hours):
    """One of the web processes is on a machine whose clock is wrong: neither writes what the other does."""
    project, models, right = factories.make_project(), [factories.make_model(), factories.make_model()], timezone.now
    fields = {"project": project, "prompt": factories.make_prompt(project), "model_a": models[0], "model_b": models[1]}
    battle, claim = Battle.objects.create(**fields), uuid.uuid4()
    for renews in (False, True):
        with monkeypatch.context() as wrong:
            wrong.setattr(timezone, "now", lambda: right() + timedelta(hours=hours))
            if renews:
                heartbeat._write([heartbeat._Note(battle.pk, claim, ("a", "b"), True)], {claim: battle.pk})
            else:
                assert answer_writer._claim(battle.pk, claim) is not None
            assert answer_writer._claim(battle.pk, uuid.uuid4()) is None
        assert answer_writer._claim(battle.pk, uuid.uuid4()) is None
        battle.refresh_from_db()
        assert battle.claim == claim
        assert timedelta(0) < battle.claimed_until - database_now() <= timedelta(seconds=heartbeat.LEASE_SECONDS)


@dataclass(eq=False)
class Written:
    """A battle that this process writes."""

    claim: uuid.UUID
    battle_id: int = 0
    is_stopping: bool = False

    def drafts(self) -> tuple[str, str]:
        return "a", "b"

    def stop(self) -> None:
        self.is_stopping = True


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads SQLite's plans")
def test_a_beat_reads_its_own_battles_and_not_all(monkeypatch):
    project, models = factories.make_project(), [factories.make_model(), factories.make_model()]
    fields = {"project": project, "prompt": factories.make_prompt(project), "model_a": models[0], "model_b": models[1]}
    battle = Battle.objects.create(claim=uuid.uuid4(), **fields)
    writing = Written(battle.claim, battle.pk)
    monkeypatch.setattr(heartbeat, "in_thread", sync_to_async)
    with CaptureQueriesContext(connection) as asked:
        async_to_sync(heartbeat._beat_once)({writing: heartbeat._KeptDrafts(("", ""), 0.0)})
    plans = []
    for query in asked.captured_queries:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
            plans += [row[3] for row in cursor.fetchall() if "annotate_battle" in row[3]]
    assert len(plans) == 2 and all("PRIMARY KEY" in plan for plan in plans), plans


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [OperationalError, InterfaceError, DatabaseError])
async def test_a_beat_that_the_database_did_not_take_is_not_the_last(monkeypatch, error):
    tried: list[Any] = []

    def write(notes: Any, claims: Any) -> set[uuid.UUID]:
        tried.append(claims)
        if len(tried) == 1:
            raise error("the connection is closed")
        return set()

    monkeypatch.setattr(heartbeat, "_write", write)
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.02)
    writing = Written(uuid.uuid4())
    heartbeat.join(writing)
    async with asyncio.timeout(20):
        while len(tried) < 2:
            await asyncio.sleep(0.02)
        heartbeat.leave(writing)
        assert tried[-1] == {writing.claim: 0}
        while heartbeat._beating:
            await asyncio.sleep(0.02)
