"""Wrong passwords for one account, from wherever: each wait is longer, and its owner has ways round it."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connections
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from annotate.core.counting import count_or_wait, growing_wait
from annotate.models import TryCount, User
from annotate.projects.accounts import password_waits
from tests.support.factories import PASSWORD, make_user

pytestmark = pytest.mark.django_db
NEW_PASSWORD = "quite another passphrase"
WAIT = "Too many tries for this name. Wait"


@pytest.fixture(autouse=True)
def few_tries(monkeypatch):
    monkeypatch.setattr(password_waits, "FREE_TRIES", 3)


def program_sign_in(name: str, password: str, address: str):
    sent = {"username": name, "password": password}
    return APIClient().post("/api/v1/auth/token/", sent, format="json", REMOTE_ADDR=address)


def page_sign_in(client, name: str, password: str = PASSWORD, address: str = "10.9.9.9"):
    return client.post(reverse("login"), {"login": name, "password": password}, REMOTE_ADDR=address)


def sign_out(client) -> None:
    """Sign out as a browser does; `client.logout` forgets all cookies."""
    assert client.post(reverse("logout")).status_code == 302


def guess_from_everywhere(name: str, tries: int = 3) -> None:
    for n in range(tries):
        assert program_sign_in(name, "a guess", f"10.0.{n}.1").status_code == 400


def pass_seconds(seconds: int) -> None:
    for row in TryCount.objects.all():
        TryCount.objects.filter(pk=row.pk).update(since=row.since - timedelta(seconds=seconds))


def test_guesses_from_many_addresses_wait_longer_each_time():
    user = make_user()
    guess_from_everywhere(user.username)
    waits = []
    for n in range(8):
        refused = program_sign_in(f" {user.username.upper()}", PASSWORD, f"10.1.{n}.1")
        assert refused.status_code == 429 and WAIT in refused.json()["errors"]["password"]
        waits.append(int(refused["Retry-After"]))
        pass_seconds(waits[-1])
        assert program_sign_in(user.username, "a guess", f"10.2.{n}.1").status_code == 400
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_tries_during_a_wait_do_not_make_it_longer_and_a_right_password_ends_it():
    user = make_user()
    guess_from_everywhere(user.username)
    for n in range(5):
        assert program_sign_in(user.username, "a guess", f"10.3.{n}.1").status_code == 429
    pass_seconds(61)
    assert program_sign_in(user.username, PASSWORD, "10.4.0.1").status_code == 200
    guess_from_everywhere(user.username)


def test_a_day_without_a_try_ends_the_wait():
    assert growing_wait(2, free=3, longest=3600) == 0
    user = make_user()
    guess_from_everywhere(user.username, tries=3)
    pass_seconds(24 * 3600)
    guess_from_everywhere(user.username, tries=3)


def test_a_name_without_an_account_waits_in_the_same_words():
    user = make_user()
    answers = []
    for name in (user.username, "nobody-here"):
        guess_from_everywhere(name)
        answers.append(program_sign_in(name, "a guess", "10.5.0.1"))
    assert answers[0].status_code == answers[1].status_code == 429
    assert answers[0].json()["errors"] == answers[1].json()["errors"]
    pages = [page_sign_in(Client(), name).content.decode() for name in (user.username, "nobody-here")]
    assert all(WAIT in page for page in pages)


def test_a_browser_that_was_used_before_does_not_wait_for_strangers_guesses(client):
    owner, other = make_user(), make_user()
    assert page_sign_in(client, owner.username).status_code == 302
    sign_out(client)
    guess_from_everywhere(owner.username)
    assert WAIT in page_sign_in(Client(), owner.username).content.decode()
    known_to_other = Client()
    page_sign_in(known_to_other, other.username)
    sign_out(known_to_other)
    assert WAIT in page_sign_in(known_to_other, owner.username).content.decode(), "it is known for the other alone"
    assert page_sign_in(client, owner.username).status_code == 302
    assert WAIT in page_sign_in(Client(), owner.username).content.decode(), "strangers go on waiting"


def test_a_known_browser_guesses_no_more_than_others_and_a_forged_one_is_unknown(client):
    owner = make_user()
    page_sign_in(client, owner.username)
    sign_out(client)
    for _ in range(3):
        assert WAIT not in page_sign_in(client, owner.username, "a guess").content.decode()
    assert WAIT in page_sign_in(client, owner.username).content.decode()
    assert page_sign_in(Client(), owner.username).status_code == 302, "its guesses keep no other browser waiting"
    guess_from_everywhere(owner.username)
    forger = Client()
    forger.cookies[password_waits.COOKIE] = f"{password_waits.name_hash(owner.username)}.made-up"
    assert WAIT in page_sign_in(forger, owner.username).content.decode()


def test_a_link_from_the_mail_ends_the_wait_and_signs_in(client, settings, mailoutbox):
    settings.EMAIL_NOTICES_FROM = "assay@example.org"
    owner = make_user(email="ada@example.org")
    guess_from_everywhere(owner.username)
    assert "choose a new password by e-mail" in page_sign_in(client, owner.username).content.decode()
    client.post(reverse("account_reset_password"), {"email": owner.email})
    link = next(line for line in mailoutbox[0].body.split() if "/password/reset/key/" in line)
    form = client.get("/" + link.split("/", 3)[3], follow=True)
    client.post(form.request["PATH_INFO"], {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD})
    assert client.get(reverse("account")).status_code == 200
    sign_out(client)
    guess_from_everywhere(owner.username)
    assert page_sign_in(client, owner.username, NEW_PASSWORD).status_code == 302, "the browser is known from now on"


def test_a_new_password_from_the_operator_ends_the_wait():
    owner = make_user()
    guess_from_everywhere(owner.username)
    owner = User.objects.get(pk=owner.pk)
    owner.set_password(NEW_PASSWORD)
    owner.save()
    assert program_sign_in(owner.username, NEW_PASSWORD, "10.6.0.1").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_web_processes_that_ask_at_once_share_one_count():
    """Each thread has a connection of its own, as each process has."""
    TryCount.objects.create(key="k", since=timezone.now() - timedelta(seconds=61), tries=3)
    gate, waits = threading.Barrier(4), []

    def ask() -> None:
        gate.wait()
        waits.append(count_or_wait("k", free=3, longest=3600))
        connections.close_all()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == [0, 120, 120, 120]
    assert TryCount.objects.get(key="k").tries == 4
