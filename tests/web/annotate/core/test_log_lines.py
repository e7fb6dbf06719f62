"""A line of JSON says what it is about by ids, and holds no name and no text of anybody."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import logging.config
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse

from annotate.core.asgi.handler import Handler
from annotate.core.asgi.request_ids import Identified
from annotate.core.logs import context
from config.log_settings import logging_settings
from tests.support.factories import make_token, make_user


@pytest.fixture
def written() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What our loggers wrote, as the handler of LOG_FORMAT=json writes it and a program reads it."""
    config = logging_settings("json", "INFO")
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(logging.config.DictConfigurator(config).configure_formatter(config["formatters"]["json"]))
    handler.addFilter(context.AddContext())
    logger = logging.getLogger("assay")
    levels = {each: each.level for each in (logger, logging.getLogger("assay.request"))}
    for each in levels:
        each.setLevel(logging.INFO)  # and no other way: a logger remembers what it let through
    logger.addHandler(handler)
    yield lambda: [json.loads(line) for line in handler.stream.getvalue().splitlines()]
    logger.removeHandler(handler)
    for each, level in levels.items():
        each.setLevel(level)


async def get(address: str, client: tuple[str, int] = ("127.0.0.1", 1), **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=Identified(Handler()), client=client)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as visitor:
        return await visitor.get(address, headers=headers)


@pytest.mark.django_db(transaction=True)
async def test_a_request_s_line_has_its_ids_and_neither_names_nor_address(written, project):
    user = await asyncio.to_thread(make_user, project, role="researcher", username="ada-the-annotator")
    token = await asyncio.to_thread(make_token, user)
    answer = await get(f"/api/v1/runs/?project={project.slug}&secret=words", Authorization=f"Token {token}")
    [line] = [line for line in written() if line["logger"] == "assay.request"]
    assert answer.status_code == 200 and line["request_id"] == answer.headers["x-request-id"]
    assert (line["view"], line["method"], line["status"]) == ("run-list", "GET", 200)
    assert line["user_id"] == user.pk and line["level"] == "INFO" and line["time"].endswith("+00:00")
    assert not [word for word in ("ada", "words", project.slug, token) if word in json.dumps(line)]


@pytest.mark.django_db(transaction=True)
async def test_a_page_of_a_project_is_logged_with_the_project(written, project):
    address = await asyncio.to_thread(reverse, "project", args=[project.slug])
    await get(address)
    [line] = [line for line in written() if line["logger"] == "assay.request"]
    assert line["project_id"] == project.pk and "user_id" not in line


def test_django_s_own_line_on_a_request_has_no_address(rf):
    record = logging.LogRecord("django.request", logging.WARNING, "", 1, "%s: %s", ("Not Found", "/k/ada/"), None)
    record.request = rf.get("/k/ada/")
    assert context.WithoutAddress().filter(record) and record.getMessage() == "Not Found"
    assert "request" not in record.__dict__


@pytest.mark.parametrize(
    ("trusted", "sent", "is_kept"),
    [
        (["127.0.0.1"], "4bf92f3577b34da6a3ce929d0e0e4736", True),
        ([], "4bf92f3577b34da6a3ce929d0e0e4736", False),
        (["127.0.0.1"], "short", False),
        (["127.0.0.1"], 'x" injected="1" or a text', False),
        (["127.0.0.1"], "y" * 65, False),
    ],
)
@pytest.mark.django_db(transaction=True)
async def test_a_trusted_proxy_s_id_is_kept_if_it_is_one(settings, trusted, sent, is_kept):
    settings.TRUSTED_PROXIES = trusted
    one, other = [(await get("/sign-in/", **{"X-Request-ID": sent})).headers["x-request-id"] for _ in range(2)]
    assert (one == sent == other) is is_kept and (one != other) is not is_kept and len(one) >= 8


def test_an_error_s_line_is_one_line_with_the_traceback_and_what_it_is_about(written):
    with context.bound(run_id=7, project_id=3):
        try:
            raise ValueError("two\nlines")
        except ValueError:
            logging.getLogger("assay.worker").exception("run %s failed", 7, extra={"ending": "failed"})
    [line] = written()
    assert (line["run_id"], line["project_id"], line["ending"], line["level"]) == (7, 3, "failed", "ERROR")
    assert line["message"] == "run 7 failed" and "ValueError: two\nlines" in line["exception"]


def test_what_becomes_known_later_is_known_to_all_of_the_request_and_to_nobody_after_it(written):
    log = logging.getLogger("assay.test")
    context.add(project_id=1)
    with context.bound(request_id="r"):
        context.add(project_id=2), context.add(project_id=3)
        log.info("within")
    log.info("after")
    assert [(line.get("request_id"), line.get("project_id")) for line in written()] == [("r", 2), (None, None)]


def test_another_format_is_refused():
    with pytest.raises(ImproperlyConfigured, match="LOG_FORMAT=xml is unknown: choose one of plain, json"):
        logging_settings("xml", "INFO")
