"""What stands open to a network: no debugging pages, the licence, pages for failures, whose headers are believed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from django.test import Client, RequestFactory

from annotate.core import visitors
from annotate.core.network import proxies
from tests.support.factories import make_project, make_user

ROOT = Path(__file__).resolve().parents[3]


def debug(tmp_path: Path, **given: str) -> subprocess.CompletedProcess[str]:
    environment = {"ASSAY_DATA": str(tmp_path), "PATH": os.environ["PATH"], **given}
    script = "from config import settings; print(settings.DEBUG)"
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.1", ""])
def test_on_this_machine_alone_errors_are_told_in_full(tmp_path, host):
    assert debug(tmp_path, HOST=host).stdout.strip() == "True"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "assay.example.org", "127.example.org"])
def test_where_others_reach_it_debugging_is_off(tmp_path, host):
    done = debug(tmp_path, HOST=host, SECRET_KEY="x" * 50)
    assert done.stdout.strip() == "False", done.stderr
    asked = debug(tmp_path, HOST=host, SECRET_KEY="x" * 50, DEBUG="1")
    assert asked.returncode != 0 and "DEBUG=1" in asked.stderr and "HOST" in asked.stderr


def test_the_demo_and_the_server_start_with_the_same_pages_as_in_earnest():
    assert "DEBUG=${DEBUG:-0}" in (ROOT / "script" / "demo").read_text()
    assert "make_production_pages" in (ROOT / "script" / "server").read_text()


def test_the_licence_is_the_whole_text():
    text = (ROOT / "LICENSE").read_text()
    words = " ".join(text.split())
    for number in range(1, 10):
        assert f" {number}. " in words
    assert "END OF TERMS AND CONDITIONS" in words and "APPENDIX: How to apply the Apache License" in words
    # The text of https://www.apache.org/licenses/LICENSE-2.0.txt, but for white space.
    assert hashlib.sha256(words.encode()).hexdigest() == LICENCE


LICENCE = "0ffddef9e48f8a09aed5caf2d44f7ba1c1be2d9b8e0a6f693b1635b2d5566645"


# What went wrong


@pytest.fixture
def stranger() -> Client:
    return Client(raise_request_exception=False)


def breaks(monkeypatch, error: Exception) -> None:
    def broken(_: object) -> list[object]:
        raise error

    monkeypatch.setattr("annotate.projects.pages._visible", broken)


def test_what_nobody_foresaw_is_a_page_that_needs_nothing(stranger, db, monkeypatch, settings):
    breaks(monkeypatch, RuntimeError("the path /srv/secret"))
    answer = stranger.get("/")
    page = answer.content.decode()
    assert answer.status_code == 500 and "Something went wrong" in page and 'href="/"' in page
    assert "secret" not in page and "<!doctype html>" in page and "Content-Security-Policy" in answer.headers


def test_a_database_that_does_not_answer_is_busy_and_not_broken(stranger, db, monkeypatch):
    breaks(monkeypatch, OperationalError("database is locked"))
    answer = stranger.get("/")
    page = answer.content.decode()
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0
    assert "busy" in page and "again" in page and "locked" not in page


def busy_form(monkeypatch, client: Client, name: str, fields: dict[str, object]) -> str:
    """The page that whoever sent this form sees when nobody could write."""

    def locked(**_: object) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(f"annotate.projects.actions.{name}", locked)
    answer = client.post("/p/tea/settings/", fields)
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0
    return answer.content.decode()


@pytest.fixture
def manager(db) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(make_user(make_project(slug="tea"), role="manager"))
    return client


def test_a_form_that_found_the_database_busy_is_kept_and_sent_again(manager, monkeypatch):
    said = {"name": 'Tea & "milk"', "asks_ratings": "on", "description": "first\nsecond"}
    page = busy_form(monkeypatch, manager, "change_settings", said)
    assert 'action="/p/tea/settings/"' in page and 'name="csrfmiddlewaretoken"' in page and "Send it again" in page
    assert 'value="Tea &amp; &quot;milk&quot;"' in page and 'name="asks_ratings" value="on"' in page
    assert 'value="first\nsecond"' in page


def test_a_secret_is_not_written_into_that_page(manager, monkeypatch):
    page = busy_form(monkeypatch, manager, "change_settings", {"name": "Tea", "new_password": "hunter2"})
    assert "hunter2" not in page and "<form" not in page and "Back button" in page


def test_those_pages_ask_the_database_for_nothing(monkeypatch, django_assert_num_queries, db):
    from annotate.core import server_error as failures

    with django_assert_num_queries(0):
        for error in (RuntimeError(), OperationalError()):
            try:
                raise error
            except Exception:
                assert failures.server_error(RequestFactory().get("/")).content


# Who asks


def network(settings, trusted: str, **meta: str) -> str:
    settings.TRUSTED_PROXIES = proxies.read_list(trusted)
    return visitors.network_of(RequestFactory().get("/", **meta))


FORGED = {"HTTP_X_FORWARDED_FOR": "6.6.6.6, 203.0.113.7"}


@pytest.mark.parametrize(
    ("trusted", "peer", "found"),
    [
        ("", "10.0.0.1", "10.0.0.1"),
        ("", "127.0.0.1", "127.0.0.1"),  # uvicorn would believe this one
        ("10.0.0.1", "10.0.0.1", "203.0.113.7"),
        ("10.0.0.0/8", "10.9.9.9", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.2", "10.0.0.2"),  # another machine that sends the header
        ("unix", "", "203.0.113.7"),
        ("10.0.0.1", "", ""),  # a socket that nobody named
        ("unix", "10.0.0.1", "10.0.0.1"),
        ("2001:db8::/32", "2001:db8::9", "203.0.113.7"),
        ("::ffff:10.0.0.1", "10.0.0.1", "203.0.113.7"),
        ("10.0.0.1", "::ffff:10.0.0.1", "203.0.113.7"),
    ],
)
def test_the_header_is_believed_from_named_proxies_alone(settings, trusted, peer, found):
    assert network(settings, trusted, REMOTE_ADDR=peer, **FORGED) == found


def test_a_chain_of_proxies_is_followed_as_far_as_each_is_named(settings):
    chain = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "6.6.6.6, 203.0.113.7, 10.0.0.9:4711"}
    assert network(settings, "10.0.0.1, 10.0.0.9", **chain) == "203.0.113.7"
    assert network(settings, "10.0.0.1", **chain) == "10.0.0.9"
    all_named = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "10.0.0.3, 10.0.0.2"}
    assert network(settings, "10.0.0.0/8", **all_named) == "10.0.0.3"
    assert network(settings, "10.0.0.1", REMOTE_ADDR="10.0.0.1") == "10.0.0.1", "a proxy that writes none"


def test_a_header_that_is_no_address_gives_no_name_of_ones_own(settings):
    """Else whoever gets such a hop written would begin a new count with each request."""
    one = network(settings, "10.0.0.1", REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR="6.6.6.6, _hidden1")
    assert one == "10.0.0.1"


@pytest.mark.parametrize("text", ["1", "proxy.example.org", "10.0.0.1/40", "10.0.0.1 10.0.0.2"])
def test_a_list_that_cannot_be_read_stops_the_start(text):
    with pytest.raises(ImproperlyConfigured, match="TRUSTED_PROXIES"):
        proxies.read_list(text)


def test_uvicorn_reads_no_such_header_before_us():
    (web,) = [line for line in (ROOT / "Procfile").read_text().splitlines() if line.startswith("web:")]
    assert "--no-proxy-headers" in web.split()
