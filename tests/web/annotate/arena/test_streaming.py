"""The arena's live page: frames of the page's own partials, without a name, written once whoever looks on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import httpx
import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.db import OperationalError
from django.test import AsyncClient
from django.utils import timezone

from annotate.arena.masking import growing_mask
from annotate.arena.masking import masked_text as masking
from annotate.arena.masking.naming_rules import MaskingContext
from annotate.arena.streaming import answer_writer, live_battles, onlookers
from annotate.models import Battle, Completion, LanguageModel, Project
from common.sampling import sampling_of
from config.asgi import application
from tests.support import factories, tiny_model

NAMES = ["Aardvark-7B", "Zebra-SFT-v2"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def models(db) -> list[LanguageModel]:
    return [factories.make_model(name=name, folder=f"models/{name}", stage="Stage-" + name) for name in NAMES]


class Socket(ApplicationCommunicator):
    """A websocket; channels' own communicator needs daphne, which the product does not."""

    def __init__(self, path: str, headers: list[tuple[bytes, bytes]]) -> None:
        scope = {"type": "websocket", "path": path, "query_string": b"", "headers": headers, "subprotocols": []}
        super().__init__(application, scope)

    async def open(self) -> None:
        await self.send_input({"type": "websocket.connect"})
        assert (await self.receive_output(timeout=5))["type"] == "websocket.accept"

    async def leave(self) -> None:
        await self.send_input({"type": "websocket.disconnect", "code": 1001})
        await self.wait()

    async def frames(self) -> list[str]:
        """All that come until the server closes."""
        frames = []
        while (message := await self.receive_output(timeout=10))["type"] != "websocket.close":
            frames.append(message["text"])
        return frames


class Visit:
    """A visitor's browser: its cookies, and the battle that it has started."""

    def __init__(self, client: AsyncClient, battle: Battle) -> None:
        self.client, self.battle = client, battle

    async def open(self, *, cookies: bool = True) -> Socket:
        jar = "; ".join(f"{name}={morsel.value}" for name, morsel in self.client.cookies.items())
        headers = [(b"origin", b"http://testserver"), (b"host", b"testserver"), (b"cookie", jar.encode())]
        socket = Socket(f"/ws/arena/{self.battle.token}/", headers if cookies else headers[:2])
        await socket.open()
        return socket

    async def watch(self) -> list[str]:
        return await (await self.open()).frames()

    async def completions(self) -> list[Completion]:
        return await sync_to_async(lambda: list(Completion.objects.order_by("pk")))()

    async def fresh(self) -> Battle:
        return await Battle.objects.select_related("completion_a", "completion_b").aget(pk=self.battle.pk)


@pytest.fixture
async def visit(models, fake) -> AsyncIterator[Visit]:
    def arena() -> str:
        project = factories.make_project()
        for model in models:
            factories.make_contestant(project, model)
        return f"/p/{project.slug}/arena/"

    client = AsyncClient()
    response = await client.post(await sync_to_async(arena)(), {"text": "Why?"})
    assert response.status_code == 302
    yield Visit(client, await Battle.objects.aget())
    for battle in list(answer_writer._here.values()):
        await battle.task


async def test_both_answers_stream_side_by_side_and_then_a_vote_can_be_cast(visit, fake):
    fake.answer = lambda body: ["One is here ", 0.25, "and so ", 0.25, "three."]
    frames = await visit.watch()
    assert any("One is" in frame and "three." not in frame for frame in frames)
    for letter in "ab":
        whole = f'id="text-{letter}" hx-swap-oob="true"><p>One is here and so three.</p>'
        assert any(whole in frame for frame in frames)
    assert any('<fieldset id="choices" hx-swap-oob="true">' in frame for frame in frames)
    assert "Both answers are finished" in frames[-1]
    battle = await visit.fresh()
    assert battle.completion_a.text == battle.completion_b.text == "One is here and so three."
    assert battle.claim is None


async def test_no_frame_names_a_model(visit, fake, models):
    fake.status, fake.error = 500, f"cannot load {models[0].name} from {models[1].folder}"
    frames = await visit.watch()
    assert "The model server failed at this answer" in frames[-1] and "You cannot vote on this battle" in frames[-1]
    fake.status = 200
    frames += await visit.watch()
    for model in models:
        for telling in (model.name, model.stage, model.folder, model.server_name, f"/{model.pk}"):
            assert not any(telling in frame for frame in frames)


async def test_answers_are_escaped(visit, fake):
    fake.answer = lambda body: ["<script>alert(1)</script>"]
    assert not any("<script" in frame for frame in await visit.watch())


async def test_frames_are_few_however_quick_the_model(visit, fake):
    fake.answer = lambda body: [piece for n in range(200) for piece in (f"{n} ", 0.002)]
    frames = await visit.watch()
    assert len(frames) < 20
    assert (await visit.fresh()).completion_a.tokens == 200


async def test_nothing_is_shown_before_both_have_begun(visit, fake, models):
    slow = models[0].server_name
    fake.answer = lambda body: [0.5, "Slow."] if body["model"] == slow else ["Quick ", 0.8, "one."]
    frames = await visit.watch()
    first = next(frame for frame in frames if "Quick" in frame)
    assert "Slow." in first


async def test_the_quicker_model_is_shown_no_further_than_the_slower_one(visit, fake, models):
    """And ends no sooner: else whoever knows how fast a model is would know which of the two it is."""
    slow = models[0].server_name
    words = [f"word{n} " for n in range(40)]
    fake.answer = lambda body: [p for w in words for p in (w, 0.03)] if body["model"] == slow else [*words, "and more."]
    lengths, socket = [], await visit.open()
    while (await socket.receive_output(timeout=10))["type"] != "websocket.close":
        sides = (await sync_to_async(live_battles.look)(visit.battle)).sides
        lengths.append([len(side.text) for side in sides])
    half = [pair for pair in lengths if 0 < min(pair) < 200]
    assert len(half) > 3 and all(abs(a - b) < 24 for a, b in half)  # of either some last words are held back
    texts = {completion.text for completion in await visit.completions()}
    assert texts == {"".join(words), "".join(words) + "and more."}


async def test_a_stop_keeps_of_either_answer_what_its_reader_has_seen(visit, fake, models):
    slow = models[0].server_name
    fake.answer = lambda body: (
        ["One by one ", 9.0, "late"] if body["model"] == slow else ["All at once, and to the end."]
    )
    socket = await visit.open()
    while "If you vote now, they stop" not in (await socket.receive_output(timeout=10)).get("text", ""):
        pass
    assert await sync_to_async(Completion.objects.count)() == 0  # the quick one is over, and does not seem so
    await sync_to_async(live_battles.stop)(visit.battle)
    kept = {completion.text: completion.finish_reason for completion in await visit.completions()}
    assert kept == {"One by one ": "stopped", "All at once": "stopped"}


async def test_a_whole_answer_is_kept_though_the_other_breaks_off_later(visit, fake, models):
    bad = models[0].server_name
    broken = ["One ", 0.5, b'data: {"error": "boom"}\n\n']
    fake.answer = lambda body: broken if body["model"] == bad else ["All at once, and to the end."]
    assert "You cannot vote on this battle" in (await visit.watch())[-1]
    assert [completion.text for completion in await visit.completions()] == ["All at once, and to the end."]


async def test_two_readers_see_one_writing(visit, fake):
    fake.answer = lambda body: ["One ", 0.3, "two."]
    both = await asyncio.gather(visit.watch(), visit.watch())
    assert all("Both answers are finished" in frames[-1] for frames in both)
    assert len(fake.requests) == 2 and len(await visit.completions()) == 2


async def test_answers_are_masked_once_for_all_who_look_on_and_off_the_event_loop(visit, fake, monkeypatch):
    words = [f"Word {n} of a long answer about lighthouses. " for n in range(120)]
    fake.answer = lambda body: [piece for word in words for piece in (word, 0.01)]
    passes: list[tuple[str, str]] = []  # (thread, text) of each over an answer that still grows
    mask = masking.shown

    def noted(text: str, told: MaskingContext, *, is_whole: bool) -> str:
        if not is_whole:
            passes.append((threading.current_thread().name, text))
        return mask(text, told, is_whole=is_whole)

    monkeypatch.setattr(masking, "shown", noted)
    monkeypatch.setattr(growing_mask, "SHORT", 0)
    monkeypatch.setattr(growing_mask, "GROWTH", 1)  # a pass when the text has doubled: twice an answer at most
    frames = await asyncio.gather(*(visit.watch() for _ in range(4)))
    assert all("Word 119" in part[-1] or any("Word 119" in frame for frame in part) for part in frames)
    assert threading.main_thread().name not in {thread for thread, _ in passes}
    often = Counter(text for _, text in passes if text)
    assert often and max(often.values()) <= 2, "more than once for each of the two sides, which say the same"
    length = len("".join(words))
    read = sum(len(text) * count for text, count in often.items())
    assert read <= 2 * 2 * length, f"{read / length:.1f} times the answers"


async def test_a_reload_looks_on_and_asks_nobody_again(visit, fake):
    fake.answer = lambda body: ["One ", 0.6, "two."]
    socket = await visit.open()
    await socket.receive_output(timeout=5)
    await socket.leave()
    frames = await visit.watch()
    assert "Both answers are finished" in frames[-1]
    assert len(fake.requests) == 2 and len(await visit.completions()) == 2


async def test_a_battle_whose_writer_was_killed_is_taken_up_where_it_stands(visit, fake):
    """As after `kill -9`: one side stands, the lease of a process that is no more has run out."""
    done = await sync_to_async(factories.make_completion)(visit.battle.prompt, "Done before.")
    await Battle.objects.aupdate(
        completion_a=done, claim=uuid.uuid4(), claimed_until=timezone.now() - timedelta(seconds=1)
    )
    frames = await visit.watch()
    assert any("Done before." in frame for frame in frames) and "Both answers are finished" in frames[-1]
    assert len(fake.requests) == 1
    assert (await visit.fresh()).completion_a == done


async def test_another_process_s_writing_is_waited_for(visit, fake, monkeypatch):
    monkeypatch.setattr(onlookers, "POLL_SECONDS", 0.05)
    await Battle.objects.aupdate(claim=uuid.uuid4(), claimed_until=timezone.now() + timedelta(seconds=60))
    watching = asyncio.create_task(visit.watch())
    await asyncio.sleep(0.2)
    assert not fake.requests
    a = await sync_to_async(factories.make_completion)(visit.battle.prompt, "From there A.")
    b = await sync_to_async(factories.make_completion)(visit.battle.prompt, "From there B.")
    await Battle.objects.aupdate(completion_a=a, completion_b=b)
    frames = await watching
    assert any("From there A." in frame for frame in frames) and "Both answers are finished" in frames[-1]
    assert not fake.requests


async def test_who_has_lost_the_lease_writes_nothing(visit, fake):
    fake.answer = lambda body: [0.4, "Too late."]
    socket = await visit.open()
    await asyncio.sleep(0.15)
    await Battle.objects.aupdate(claim=uuid.uuid4(), claimed_until=timezone.now() + timedelta(seconds=60))
    for battle in list(answer_writer._here.values()):
        await battle.task
    await socket.leave()
    battle = await visit.fresh()
    assert battle.completion_a is None and battle.completion_b is None
    assert not await visit.completions()


async def test_a_side_that_fails_is_said_and_the_other_kept(visit, fake, models):
    bad = models[0].server_name
    fake.answer = lambda body: [b'data: {"error": "boom"}\n\n'] if body["model"] == bad else ["Fine."]
    frames = await visit.watch()
    assert "One of the two answers could not be written" in frames[-1] and "Try again" in frames[-1]
    assert not any('<fieldset id="choices" hx-swap-oob="true">' in frame for frame in frames)
    assert (await visit.fresh()).spoilt_reason


async def test_a_model_server_that_is_down_is_said_in_words(visit, settings, unused_tcp_port):
    settings.MODEL_SERVER_URL = f"http://127.0.0.1:{unused_tcp_port}/v1"
    frames = await visit.watch()
    assert any("cannot be reached" in frame for frame in frames)
    assert str(unused_tcp_port) not in "".join(frames)


@pytest.mark.parametrize("cookies", [False, True])
async def test_a_stranger_s_socket_learns_nothing(visit, cookies):
    stranger = Visit(AsyncClient(), visit.battle)
    if cookies:
        stranger.battle = Battle(token=uuid.uuid4())
    socket = await stranger.open(cookies=cookies)
    message = await socket.receive_output(timeout=5)
    assert (message["type"], message["code"]) == ("websocket.close", 4404)


async def test_a_page_whose_feed_breaks_off_is_told_to_connect_again(visit, monkeypatch):
    def broken(battle_id):
        raise OperationalError("the connection to the database is lost")

    monkeypatch.setattr(live_battles, "follow", broken)
    socket = await visit.open()
    message = await socket.receive_output(timeout=5)
    assert (message["type"], message["code"]) == ("websocket.close", 1011)


@pytest.fixture
def transformers_serve(data_folder, models, settings, unused_tcp_port, tmp_path, forked_programs) -> Iterator[None]:
    """The real thing, with two tiny models in the folders of ours."""
    for model in models:
        tiny_model.make_elsewhere(model.path, seed=model.pk)
    arguments = ["serve", "--host", "127.0.0.1", "--port", str(unused_tcp_port), "--device", "cpu"]
    with (tmp_path / "serve.log").open("w") as log:
        command = [sys.executable, "-m", "transformers.cli.transformers", *arguments]
        server = subprocess.Popen(command, stdout=log, stderr=log)
    settings.MODEL_SERVER_URL = f"http://127.0.0.1:{unused_tcp_port}/v1"
    try:
        for _ in range(600):
            try:
                httpx.get(f"http://127.0.0.1:{unused_tcp_port}/health").raise_for_status()
                break
            except httpx.HTTPError:
                assert server.poll() is None, (tmp_path / "serve.log").read_text()
                time.sleep(0.1)
        yield
    finally:
        server.kill()
        server.wait()


@pytest.mark.thorough
@pytest.mark.slow
async def test_transformers_serve_streams_a_battle_and_keeps_to_the_sampling_settings(visit, transformers_serve):
    frames = await visit.watch()
    assert "Both answers are finished" in frames[-1] and len(frames) > 2
    for completion in await visit.completions():
        assert completion.text.strip() and completion.sampling == sampling_of(Project())
        assert completion.finish_reason in ("stop", "length")
        assert 0 < completion.tokens <= 1024
    battle = await visit.fresh()
    assert battle.completion_a.text != battle.completion_b.text
