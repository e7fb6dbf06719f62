"""What goes to Sentry is code and ids; what anybody wrote stays here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from annotate.core.logs import context
from config import error_reports

ROOT = Path(__file__).resolve().parents[4]
_FAILS = """
import asyncio, json, logging
from sentry_sdk.transport import Transport
class Kept(Transport):
    def capture_envelope(self, envelope):
        for item in envelope.items:
            print("SENT", json.dumps(item.payload.json))
import config.settings as settings
settings.error_reports.start("http://key@127.0.0.1/1", transport=Kept())
import httpx
from config.asgi import application
from annotate.core.asgi import handler
from django.http import HttpRequest
from django.urls import path
import config.urls
def fails(request):
    text = request.GET["text"] + "-local"
    logging.getLogger("assay.test").error("cannot read %s", text)
    raise ValueError(text)
config.urls.urlpatterns.insert(0, path("fails/<str:word>/", lambda request, word: fails(request), name="fails"))
async def main():
    transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        headers = {"Cookie": "sessionid=secret-words", "X-Words": "secret-words", "User-Agent": "secret-words"}
        answer = await client.get("/fails/secret-words/?text=secret-words", headers=headers)
        print("ID", answer.status_code, answer.headers["x-request-id"])
asyncio.run(main())
"""


@pytest.mark.slow
def test_an_error_in_a_request_is_reported_with_its_place_and_id_and_without_a_word_of_it(tmp_path):
    own = {"ASSAY_DATA": str(tmp_path), "DJANGO_SETTINGS_MODULE": "config.settings", "DEBUG": "0", "SECRET_KEY": "x"}
    done = subprocess.run(
        [sys.executable, "-c", _FAILS], cwd=ROOT, env={**os.environ, **own}, capture_output=True, text=True, timeout=300
    )
    lines = done.stdout.splitlines()
    events = [json.loads(line.removeprefix("SENT ")) for line in lines if line.startswith("SENT {")]
    events = [event for event in events if "level" in event]
    assert [event["level"] for event in events] == ["error", "error"], done.stderr
    [(_, status, request_id)] = [line.split() for line in lines if line.startswith("ID ")]
    logged, raised = events
    assert status == "500" and {event["tags"]["request_id"] for event in events} == {request_id}
    assert logged["logentry"] == {"message": "cannot read %s"}
    [failure] = raised["exception"]["values"]
    assert failure["type"] == "ValueError" and failure["stacktrace"]["frames"][-1]["function"] == "fails"
    assert "secret-words" not in json.dumps(events)


def test_nothing_of_an_event_is_kept_but_what_is_ours():
    failure = {"type": "KeyError", "value": "ada", "stacktrace": {"frames": [{"vars": {"a": "ada"}, "lineno": 3}]}}
    request = {"url": "https://x/invitation/ada", "query_string": "ada", "cookies": "ada", "data": "ada"}
    event = {
        **{"event_id": "1", "user": {"username": "ada"}, "extra": {"sys.argv": ["ada"]}},
        **{"breadcrumbs": [{"message": "ada"}], "request": {**request, "method": "POST"}},
        "logentry": {"message": "%s failed", "params": ["ada"], "formatted": "ada failed"},
        "exception": {"values": [failure]},
    }
    with context.bound(run_id=7):
        kept = error_reports.scrubbed(event)
    assert "ada" not in json.dumps(kept) and kept["request"] == {"method": "POST"} and kept["tags"] == {"run_id": "7"}
    assert kept["exception"]["values"][0]["stacktrace"]["frames"] == [{"lineno": 3}]


def test_a_dsn_without_the_package_or_that_is_none_is_refused_with_the_remedy(monkeypatch):
    with pytest.raises(ImproperlyConfigured, match="SENTRY_DSN is no address of Sentry"):
        error_reports.start("words")
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)
    with pytest.raises(ImproperlyConfigured, match=r"not installed: pip install -r requirements-sentry\.txt"):
        error_reports.start("http://key@127.0.0.1/1")
    error_reports.start("")
