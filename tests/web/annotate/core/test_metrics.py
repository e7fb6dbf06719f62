"""What /metrics says is what was done, and it says it to nobody but those who may know."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.utils import timezone
from prometheus_client import REGISTRY

from annotate.arena.battles import votes
from annotate.arena.streaming import live_battles
from annotate.core.asgi import waiting
from annotate.core.asgi.handler import Handler
from annotate.core.asgi.metrics_endpoint import Metrics
from annotate.core.asgi.socket_limits import Bounded
from annotate.core.errors import Refused
from annotate.core.gauges import heartbeats, held_votes
from annotate.core.metrics.readings import READINGS, Reading
from annotate.labelling import actions as feedback
from annotate.language_models import model_server
from annotate.language_models.model_server_errors import ModelServerError
from annotate.models import LanguageModel, ProcessHeartbeat, Status
from tests.support import factories
from tests.support.annotate.voting import cast, make_battle

HERE = ("127.0.0.1", 4711)


async def get(app: Any, address: str = "/metrics", client: tuple[str, int] = HERE, **options: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app=app, client=client)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as visitor:
        return await visitor.get(address, **options)


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.fixture
def added() -> Callable[..., float]:
    """How much a counter has grown since this test first asked for it."""
    before: dict[tuple, float] = {}

    def grown(name: str, **labels: str) -> float:
        now = value(name, **labels)
        return now - before.setdefault((name, *sorted(labels.items())), now)

    return grown


@pytest.fixture
def app(settings) -> Metrics:
    settings.METRICS_TOKEN, settings.SITE_URL = "", "http://127.0.0.1:8000"
    return Metrics(Handler())


@pytest.mark.django_db(transaction=True)
def test_annotations_and_votes_are_counted_by_what_became_of_them(project, user, added):
    def counts() -> dict[tuple[str, str], float]:
        pairs = [(k, o) for k in ("annotation", "battle") for o in ("accepted", "held", "refused")]
        return {pair: added("assay_votes_total", kind=pair[0], outcome=pair[1]) for pair in pairs}

    counts()
    rate = factories.make_assignment(user, factories.make_completion(factories.make_prompt(project), "An answer."))
    with pytest.raises(Refused):
        feedback.submit(assignment=rate, by=user, stars=9)
    for _ in range(2):
        feedback.submit(assignment=rate, by=user, thumbs=True, idempotency_key="once")
    pair = [factories.make_contestant(project).model for _ in range(2)]
    cast(make_battle(project, pair))
    named = make_battle(project, pair)
    named.completion_a.text = "I am Claude, made by Anthropic."
    named.completion_a.save()
    is_held = cast(named).status == Status.HELD
    with pytest.raises(Refused):
        live_battles.vote(battle=named, ballot=votes.Ballot("nobody", "", ""))
    expected = {("annotation", "accepted"): 1, ("annotation", "refused"): 1, ("battle", "refused"): 1}
    expected |= {("battle", "accepted"): 2 - is_held, ("battle", "held"): int(is_held)}
    assert {pair: count for pair, count in counts().items() if count} == {p: n for p, n in expected.items() if n}


@pytest.mark.django_db
def test_a_vote_that_is_rolled_back_is_not_counted(project, user, added, django_capture_on_commit_callbacks):
    added("assay_votes_total", kind="annotation", outcome="accepted")
    rate = factories.make_assignment(user, factories.make_completion(factories.make_prompt(project), "An answer."))
    with django_capture_on_commit_callbacks() as callbacks:
        feedback.submit(assignment=rate, by=user, thumbs=True)
    assert callbacks and added("assay_votes_total", kind="annotation", outcome="accepted") == 0


@pytest.mark.django_db
def test_the_share_of_held_votes_is_that_of_the_newest(project, monkeypatch):
    pair = [factories.make_contestant(project).model for _ in range(2)]
    assert [reading.values for reading in held_votes.held_readings()] == [{}]
    rows = [cast(make_battle(project, pair)) for _ in range(4)]
    type(rows[0]).objects.update(status=Status.COUNTED)
    type(rows[0]).objects.filter(pk=rows[-1].pk).update(status=Status.HELD)
    assert [reading.values for reading in held_votes.held_readings()] == [{(): 0.25}]
    monkeypatch.setattr(held_votes, "NEWEST", 2)
    assert [reading.values for reading in held_votes.held_readings()] == [{(): 0.5}]


@pytest.mark.django_db(transaction=True)
async def test_requests_are_counted_by_view_and_class_of_status_and_no_address_is_in_a_label(app, project, added):
    ok = {"view": "login", "method": "GET", "status": "2xx"}
    none = {"view": "none", "method": "GET", "status": "4xx"}
    added("assay_requests_total", **ok), added("assay_requests_total", **none)
    added("assay_request_seconds_count", view="login", method="GET")
    for address in ("/sign-in/", "/sign-in/?next=/secret/", "/no-such-page/secret"):
        await get(app, address)
    assert added("assay_requests_total", **ok) == 2 == added("assay_request_seconds_count", view="login", method="GET")
    assert added("assay_requests_total", **none) == 1
    answer = await get(app)
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
    assert 'assay_requests_total{method="GET",status="2xx",view="login"}' in answer.text
    assert "secret" not in answer.text and project.slug not in answer.text


def test_waits_for_models_and_their_faults_are_measured(fake, added):
    model = LanguageModel(name="m", endpoint=fake.url, served_name="s")
    options = {"max_new_tokens": 5, "temperature": 0.0, "top_p": 1.0}
    added("assay_model_server_seconds_count", server="endpoint")
    added("assay_model_server_errors_total", server="endpoint", reason="failed")
    model_server.complete_chat(model, [], **options)
    fake.status = 500
    with pytest.raises(ModelServerError):
        model_server.complete_chat(model, [], **options)
    assert added("assay_model_server_seconds_count", server="endpoint") == 1
    assert added("assay_model_server_errors_total", server="endpoint", reason="failed") == 1


async def test_a_streamed_answer_is_measured_to_its_first_piece_and_to_its_end(fake, added):
    model = LanguageModel(name="m", endpoint=fake.url, served_name="s")
    names = ("assay_model_server_seconds_count", "assay_model_server_first_seconds_count")
    assert [added(name, server="endpoint") for name in names] == [0, 0]
    async for _ in model_server.stream_chat(model, [], max_new_tokens=5, temperature=0.0, top_p=1.0):
        pass
    assert [added(name, server="endpoint") for name in names] == [1, 1]


@pytest.mark.django_db(transaction=True)
def test_a_wait_for_the_database_is_measured(project, added):
    from django.db import connection, transaction

    wait = "write_lock" if connection.vendor == "sqlite" else "row_lock"
    added("assay_database_wait_seconds_count", wait=wait)
    with transaction.atomic():
        project.lock()
    assert added("assay_database_wait_seconds_count", wait=wait) == 1


async def test_open_live_pages_and_requests_that_wait_for_models_are_counted_while_they_last():
    seen: list[tuple[float, float]] = []

    async def page(scope: dict[str, Any], receive: Any, send: Any) -> None:
        async with waiting.aside("ada"):
            seen.append((value("assay_websockets"), value("assay_requests_waiting_for_models")))

    before = value("assay_websockets"), value("assay_requests_waiting_for_models")
    await Bounded(page)({"type": "websocket", "headers": [], "client": HERE}, None, None)
    assert seen == [(before[0] + 1, before[1] + 1)]
    assert before == (value("assay_websockets"), value("assay_requests_waiting_for_models"))


@pytest.mark.django_db
def test_workers_live_until_they_end_or_are_silent_for_long():
    kind = ProcessHeartbeat.Kind.BACKGROUND
    assert heartbeats.alive(kind) == []
    one = heartbeats.Heartbeat("background@host:1", kind)
    one.beat(), heartbeats.Heartbeat("gpu@host:2", ProcessHeartbeat.Kind.WORKER).beat()
    assert heartbeats.alive(kind) == ["background@host:1"]
    assert [reading.values for reading in heartbeats.background_readings()] == [{(): 1}]
    ProcessHeartbeat.objects.update(beat_at=timezone.now() - timedelta(seconds=60))
    assert heartbeats.alive(kind) == []
    one.stop()
    assert ProcessHeartbeat.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_process_says_that_it_lives_for_as_long_as_it_works():
    kind, until = ProcessHeartbeat.Kind.WORKER, time.monotonic() + 120
    with heartbeats.beating("gpu@host:2", kind):
        while not heartbeats.alive(kind) and time.monotonic() < until:
            time.sleep(0.02)
        assert heartbeats.alive(kind) == ["gpu@host:2"]
    assert not ProcessHeartbeat.objects.exists()


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, {"client": ("10.0.0.7", 1)}),
        ({}, {"headers": {"X-Forwarded-For": "203.0.113.7"}}),
        ({}, {"headers": {"Host": "assay.example.org"}}),
        ({"SITE_URL": "https://assay.example.org"}, {}),
        ({"METRICS_TOKEN": "secret"}, {}),
        ({"METRICS_TOKEN": "secret"}, {"headers": {"Authorization": "Bearer other"}}),
        ({"METRICS_TOKEN": "secret"}, {"headers": {"Authorization": "Bearer "}}),
    ],
)
async def test_metrics_are_never_for_everybody(app, settings, changes, options):
    for name, setting in changes.items():
        setattr(settings, name, setting)
    with READINGS.holding():
        answer = await get(app, **options)
    assert answer.status_code == (401 if settings.METRICS_TOKEN else 403)
    assert "assay_" not in answer.text and "ASSAY_METRICS_TOKEN" in answer.text


async def test_who_has_the_token_may_read_from_anywhere_and_while_the_database_is_gone(app, settings):
    settings.METRICS_TOKEN, settings.SITE_URL = "secret", "https://assay.example.org"

    def gone():
        raise OSError("no database")

    headers = {"Authorization": "Bearer secret", "X-Forwarded-For": "203.0.113.7"}
    with READINGS.holding(gone):
        answer = await get(app, client=("10.0.0.7", 1), headers=headers)
    assert answer.status_code == 200 and "assay_database_up 0.0" in answer.text and "assay_requests" in answer.text


async def test_a_reading_is_a_gauge_with_its_labels(app):
    def one():
        yield Reading("assay_things", "Things.", ("kind",), {("tea",): 3.0})

    with READINGS.holding(one):
        text = (await get(app)).text
    assert 'assay_things{kind="tea"} 3.0' in text and "assay_database_up 1.0" in text


async def test_other_addresses_are_left_to_the_site(settings):
    async def behind(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 418, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    assert (await get(Metrics(behind), "/metricss")).status_code == 418
