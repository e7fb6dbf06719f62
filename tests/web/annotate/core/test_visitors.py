"""Visitors: what is kept of them in sessions, and how much one network may do."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.models import Session
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone
from rest_framework.request import Request

from annotate import cleanup
from annotate.arena import api as battles
from annotate.arena.battles import votes
from annotate.arena.vote_guard import actions as vote_guard
from annotate.arena.vote_guard import proof_of_work
from annotate.core import visitors
from annotate.core.errors import TooMany
from tests.support import factories
from tests.support.annotate import voting
from tests.support.annotate.voting import cast, make_battle

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).resolve().parents[4]


def asked_from(address: str):
    request = RequestFactory().get("/", REMOTE_ADDR=address)
    request.session = Client().session
    request.user = AnonymousUser()
    return request


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(visitors, "BATTLES_PER_ADDRESS", 3)
    monkeypatch.setattr("annotate.arena.vote_guard.actions.MOST_PER_ADDRESS", 3)


def test_one_who_has_a_whole_48_gets_no_65536_times_as_much(few):
    """Each request from another /64, and each tenth from another /56."""
    taken = 0
    with pytest.raises(TooMany):
        for number in range(100):
            visitors.throttle_battles(asked_from(f"2001:db8:1:{number:x}::1"), visitor=f"v{number}")
            taken += 1
    assert taken == 6, "a /56 may do what two addresses may"
    with pytest.raises(TooMany):
        for number in range(100):
            visitors.throttle_battles(asked_from(f"2001:db8:1:{256 * (number + 1):x}::1"), visitor=f"w{number}")
            taken += 1
    assert taken == 12, "and a /48 what four may"
    visitors.throttle_battles(asked_from("2001:db8:2::1"), visitor="somebody else")
    visitors.throttle_battles(asked_from("203.0.113.1"), visitor="and of the old internet")


def test_ipv4_has_no_wider_network():
    assert visitors.wider_of(asked_from("203.0.113.7")) == ()
    assert visitors.wider_of(asked_from("::ffff:203.0.113.7")) == ()
    (one, _), (two, _) = visitors.wider_of(asked_from("2001:db8:1:2::1"))
    assert one != two and "2001" not in one + two


def test_votes_are_counted_by_the_wider_networks_too(few, project):
    pair = [factories.make_model(), factories.make_model()]
    with pytest.raises(TooMany):
        for number in range(10):
            request = asked_from(f"2001:db8:1:{number:x}::1")
            battle = make_battle(project, pair, visitor=f"v{number}")
            voting.vote(
                battle=battle,
                winner="tie",
                token=votes.issue_token(battle),
                visitor=f"v{number}",
                origin=vote_guard.Origin(visitors.networks_of(request)),
            )
    assert number == 6


def test_puzzles_get_harder_for_the_whole_network(monkeypatch):
    monkeypatch.setattr(proof_of_work, "USUAL_PER_ADDRESS", 1)
    bits = []
    for number in range(16):
        request = asked_from(f"2001:db8:1:{number:x}::1")
        address, wider = visitors.address_of(request), visitors.wider_of(request)
        bits.append(int(proof_of_work.issue(f"b{number}", address=address, wider=wider).split(".")[1]))
    assert bits[0] == proof_of_work.FEWEST_BITS and bits[-1] >= proof_of_work.FEWEST_BITS + 3


def test_sign_ins_are_counted_by_the_wider_networks_too(client, monkeypatch):
    monkeypatch.setattr("annotate.projects.accounts.adapter.TRIES_OF_ADDRESS", 2)
    said = [
        client.post("/api/v1/auth/token/", {"username": f"u{n}", "password": "x"}, REMOTE_ADDR=f"2001:db8:9:{n:x}::1",
                    content_type="application/json").status_code
        for n in range(6)
    ]  # fmt: skip
    assert said == [400] * 4 + [429] * 2


@pytest.mark.parametrize("page", ["account_signup", "account_reset_password"])
def test_sign_ups_and_lost_passwords_are_counted_by_the_wider_networks_too(client, settings, monkeypatch, page):
    settings.SIGN_UP_IS_OPEN, settings.EMAIL_NOTICES_FROM = True, "assay@example.org"
    monkeypatch.setattr("annotate.projects.accounts.adapter.POSTS_OF_ADDRESS", 2)
    texts = [
        client.post(reverse(page), {"email": f"n{n}@example.org"}, REMOTE_ADDR=f"2001:db8:9:{n:x}::1").content.decode()
        for n in range(6)
    ]
    assert ["Too many tries from your network address" in text for text in texts] == [False] * 4 + [True] * 2


# Sessions


def test_sessions_that_have_run_out_are_cleared():
    now = timezone.now()
    for name, days in (("old", -1), ("ancient", -400), ("live", 1)):
        Session.objects.create(session_key=name, session_data="x", expire_date=now + timedelta(days=days))
    assert cleanup.sweep() is False
    assert [s.session_key for s in Session.objects.all()] == ["live"]


def test_public_pages_write_no_session(settings):
    settings.SIGN_UP_IS_OPEN = True
    project = factories.make_project(is_public=True, open_sign_up=True)
    battle = make_battle(project, [factories.make_model(), factories.make_model()])
    names = ("project", "arena", "leaderboard", "models", "runs", "evaluations", "arena-history", "decisions", "data")
    addresses = [reverse(name, args=[project.slug]) for name in names]
    addresses += [reverse(name) for name in ("home", "login", "account_signup", "account_reset_password", "api-docs")]
    addresses += [f"/p/{project.slug}/arena/{battle.token}/", "/nowhere", "/api/v1/projects/", "/api/schema/"]
    wrote = {}
    for address in addresses:
        answer = Client().get(address)
        if Session.objects.exists() or "sessionid" in answer.cookies:
            wrote[address] = answer.status_code
            Session.objects.all().delete()
    assert not wrote


def test_what_is_refused_leaves_no_session_and_a_battle_does(monkeypatch):
    project = factories.make_project(is_public=True)
    arena = reverse("arena", args=[project.slug])
    assert Client().post(arena, {"text": ""}).status_code == 400
    assert not Session.objects.exists()
    monkeypatch.setattr(visitors, "BATTLES_PER_ADDRESS", 0)
    assert Client().post(arena, {"draw": "1"}).status_code == 429
    assert not Session.objects.exists()


def test_who_wants_to_join_is_remembered_by_their_own_browser(client):
    project = factories.make_project(is_public=True, open_sign_up=True)
    assert client.post(reverse("join", args=[project.slug])).status_code == 302
    assert not Session.objects.exists()
    words = {"password1": factories.PASSWORD, "password2": factories.PASSWORD}
    arrived = client.post(reverse("account_signup"), {"username": "wanda", **words})
    assert arrived.headers["Location"] == reverse("project", args=[project.slug])
    assert project.memberships.get(user__username="wanda").role == "annotator"


def test_a_program_without_cookies_leaves_no_session_behind():
    project = factories.make_project(is_public=True)
    battle = make_battle(project, [factories.make_model(), factories.make_model()])
    assert cast(battle).pk
    Client().get(f"/api/v1/battles/{battle.token}/")
    assert not Session.objects.exists()


# The database


def test_an_acknowledged_vote_survives_a_power_cut(tmp_path):
    """FULL is 2: what was committed lies on the disk before the commit returns. NORMAL (1) waits for a checkpoint."""
    script = (
        "import django; django.setup(); from django.db import connection; cursor = connection.cursor(); "
        "print([cursor.execute(f'PRAGMA {name}').fetchone()[0] for name in ('synchronous', 'journal_mode')])"
    )
    environment = {"ASSAY_DATA": str(tmp_path), "PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "config.settings"}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "[2, 'wal']", done.stderr


def test_addresses_that_are_kept_are_hashed_as_before(settings):
    """Another hash of the same address would forget who voted from there; the name of a module once stood in it."""
    settings.SECRET_KEY = "a key that does not change"
    assert visitors._hashed("203.0.113.7") == "c6087ab5e41afd44f87364a7d09a3589"


def test_a_repetition_is_the_same_visitor_as_before(settings):
    settings.SECRET_KEY = "a key that does not change"
    request = asked_from("203.0.113.7")
    request.META["HTTP_IDEMPOTENCY_KEY"] = "one"
    assert battles._token_of_key(Request(request)) == "8e73c99f3d29761bad39e8ca3fa5842a5dc1e2c2eac52037765e72cf04416a5f"
