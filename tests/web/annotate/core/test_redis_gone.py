"""Redis gone: what it keeps saves work, and nothing waits for it or depends on it."""

from __future__ import annotations

import asyncio
import contextvars
import time
from pathlib import Path

import pytest
from django.core.cache import cache, caches
from django.core.cache.backends.redis import RedisCache
from django.test import override_settings
from redis import Redis

from annotate.arena.battles import actions as arena
from annotate.core.redis import channel_layer
from annotate.core.redis.cache import Cache
from annotate.core.redis.channel_layer import Layer
from config.settings import redis_caches, redis_layers
from tests.support.factories import make_completion, make_contestant, make_project, make_prompt
from tests.support.servers import redis_server

GONE = "redis://127.0.0.1:1"  # nobody listens there


@pytest.fixture
def redis_gone(monkeypatch: pytest.MonkeyPatch):
    """The cache as the settings have it with REDIS_URL, and no Redis behind it."""
    monkeypatch.setattr(Cache, "_rests_until", 0.0)
    with override_settings(CACHES=redis_caches(GONE)):
        yield cache


def test_a_battle_starts(db, redis_gone):
    project = make_project()
    prompt = make_prompt(project, side="eval")
    for _ in range(2):
        make_completion(prompt, model=make_contestant(project).model)
    battle = arena.start_battle(project=project, visitor="v", is_drawn=True)
    assert battle.pk and battle.is_ready


def test_a_look_finds_nothing_and_a_first_is_first(redis_gone):
    redis_gone.set("a", 1)
    assert redis_gone.get("a") is None and redis_gone.get("a", 7) == 7
    assert redis_gone.add("b", 1) and not redis_gone.delete("b")


def test_what_another_version_kept_is_computed_again(redis_gone, monkeypatch):
    def gone(*_):
        raise ModuleNotFoundError("No module named 'evaluation.measures.paired_comparison'")

    monkeypatch.setattr(RedisCache, "get", gone)
    assert redis_gone.get("a", 7) == 7


def test_nobody_waits_for_it_again_and_again(redis_gone):
    redis_gone.get("a")
    began = time.monotonic()
    for _ in range(1000):
        redis_gone.get("a")
    assert time.monotonic() - began < 0.5


async def test_a_socket_stays_open():
    layer = Layer(hosts=[GONE])
    await layer.group_add("run-1", "socket")
    await layer.group_discard("run-1", "socket")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(layer.receive(await layer.new_channel()), 0.5)


async def test_a_redis_that_hangs_holds_nobody(monkeypatch):
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    monkeypatch.setattr(channel_layer, "ANSWER_SECONDS", 0.05)
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        layer = _layer(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
        await layer.group_add("run-1", "socket")
        await layer.group_discard("run-1", "socket")
        with pytest.raises(TimeoutError):
            await layer.group_send("run-1", {"type": "run.changed"})
        await layer.close_pools()


async def test_whoever_leaves_waits_no_longer(tmp_path):
    """At whatever moment: redis-py with a limit of its own lost one cancellation of six, and the wait went on."""
    with redis_server(tmp_path) as url:
        layer = _layer(url)
        for n in range(300):
            waiting = asyncio.create_task(layer.receive(await layer.new_channel()))
            await asyncio.sleep(n % 60 / 10_000)
            waiting.cancel()
            _, left = await asyncio.wait({waiting}, timeout=3)
            assert not left, f"the wait that was cancelled as number {n} goes on"
        await layer.close_pools()


async def test_whoever_leaves_leaves_nothing(tmp_path):
    """Of many who wait one asks Redis for all, and whoever leaves while asking hands over to the next."""
    with redis_server(tmp_path) as url:
        layer = _layer(url)
        waiting = [asyncio.create_task(layer.receive(await layer.new_channel())) for _ in range(10)]
        await asyncio.sleep(0.1)
        assert len(layer.receive_buffer) == 10
        for task in waiting:
            task.cancel()
            await asyncio.wait({task}, timeout=3)
        assert not layer.receive_buffer
        await layer.close_pools()


async def test_a_message_that_comes_late_is_no_error(tmp_path):
    with redis_server(tmp_path) as url:
        layer = _layer(url)
        assert layer.connection(0).connection_pool.connection_kwargs["socket_timeout"] is None  # or over brpop_timeout
        channel = await layer.new_channel()
        waiting = asyncio.create_task(layer.receive(channel))
        await layer.group_add("run-1", channel)
        await layer.group_send("run-1", {"type": "run.changed"})
        assert await asyncio.wait_for(waiting, 5) == {"type": "run.changed"}
        await layer.close_pools()


def _layer(url: str) -> Layer:
    return Layer(**redis_layers(url)["default"]["CONFIG"])


def test_requests_share_one_connection(tmp_path: Path):
    """Each request has a context, and with it a cache, of its own."""
    with redis_server(tmp_path) as url, override_settings(CACHES=redis_caches(url)), Redis.from_url(url) as client:
        before = client.info("stats")["total_connections_received"]
        own_caches = [contextvars.Context().run(_look_up) for _ in range(10)]
        assert len(set(map(id, own_caches))) == 10
        assert client.info("stats")["total_connections_received"] == before + 1


def _look_up() -> object:
    cache.set("a", 1)
    assert cache.get("a") == 1
    return caches["default"]
