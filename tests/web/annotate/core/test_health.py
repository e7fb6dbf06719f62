"""What watches a process asks it: before Django, and while the database is gone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from django.db.utils import OperationalError

from annotate.core.asgi import health, readiness
from annotate.core.asgi.health import Health
from config.asgi import application


async def get(address: str, app: Any = application, **options: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://10.1.2.3:8000") as client:  # no name of ours
        return await client.get(address, **options)


async def behind(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def with_parts(**parts: Callable[[], str]) -> Health:
    return Health(behind, parts, needed=("database",))


def well() -> str:
    return "ok"


def gone() -> str:
    raise OperationalError("connection refused: password=secret")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("address", ["/livez", "/readyz", "/healthz", "/healthz/"])
async def test_a_process_that_serves_people_says_so_under_any_host_name_and_without_https(settings, address):
    settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT = ["assay.example.org"], True
    answer = await get(address)
    assert answer.status_code == 200 and answer.json()["status"] == "ok", answer.text
    assert answer.headers["cache-control"] == "no-store"


async def test_it_lives_and_is_not_ready_while_the_database_is_gone_and_tells_no_secret():
    app = with_parts(database=gone, redis=well)
    assert (await get("/livez", app)).status_code == 200
    for address in ("/readyz", "/healthz"):
        answer = await get(address, app)
        assert answer.status_code == 503 and answer.json()["parts"]["database"] == "failed: the log has why"
        assert "secret" not in answer.text


async def test_without_what_only_some_things_need_it_is_ready_and_not_well():
    app = with_parts(database=well, storage=gone)
    assert (await get("/readyz", app)).json() == {"status": "ok", "parts": {"database": "ok"}}
    assert (await get("/healthz", app)).status_code == 503


async def test_a_part_that_hangs_is_given_up_and_asked_by_one_thread_however_many_look(monkeypatch):
    monkeypatch.setattr(health, "PATIENCE", 0.05)
    may_answer, asked = threading.Event(), []

    def hangs() -> str:
        asked.append(threading.current_thread().name)
        may_answer.wait(10)
        return "ok"

    app = with_parts(database=hangs)
    try:
        for _ in range(3):
            answer = await get("/readyz", app)
            assert answer.status_code == 503 and "no answer within" in answer.text
        assert len(asked) == 1
    finally:
        may_answer.set()


async def test_other_addresses_and_methods_are_left_to_the_site():
    app = with_parts(database=well)
    assert (await get("/livezz", app)).status_code == 418
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://site") as client:
        assert (await client.post("/livez")).status_code == 418
        assert (await client.head("/livez")).content == b""


@pytest.mark.django_db(transaction=True)
def test_missing_tables_are_counted_until_they_are_there(monkeypatch):
    migrations, plans = readiness.Migrations(), iter([["one", "two"], []])
    monkeypatch.setattr(readiness, "unapplied_migrations", lambda: next(plans))
    assert [migrations(), migrations(), migrations()] == ["2 not applied: manage.py migrate", "ok", "ok"]


def test_redis_that_is_gone_is_no_reason_to_send_people_away(settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    with pytest.raises(Exception, match="refused"):
        readiness.redis()
    assert "redis" not in readiness.NEEDED and "redis" in readiness.PARTS
