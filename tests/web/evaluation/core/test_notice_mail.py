"""Notices by e-mail: sent by the background worker, when each person wants them, tried again, and easy to stop."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from smtplib import SMTPServerDisconnected
from typing import Any

import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from annotate.models import Membership
from evaluation.alerts import alert_kinds
from evaluation.alerts.alert_upkeep import look
from evaluation.core import notice_mail, notices
from evaluation.models import Notice
from tests.support.api_client import Program, errors
from tests.support.factories import make_project, make_user
from tests.support.training.runs import make_run
from training.models import Run

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def sends_mail(settings) -> None:
    settings.EMAIL_NOTICES_FROM, settings.SITE_URL = "assay@example.org", "https://assay.example.org"


@pytest.fixture
def mira(project):
    return person(project, "mira", role="manager")


def person(project, name: str, mail: str = "at_once", role: str = "researcher"):
    user = make_user(project, username=name, role=role, email=f"{name}@example.org")
    Membership.objects.filter(user=user).update(notice_mail=mail)
    return user


def tell(project, text="It meets the rule.", **fields) -> list[Notice]:
    return notices.tell(project=project, text=text, url="/p/x/decisions/", **fields)


def send() -> list[EmailMessage]:
    """Return what one round of the background worker has sent."""
    before = len(mail.outbox)
    notice_mail.send_due()
    return mail.outbox[before:]


def a_day_goes_by() -> None:
    for notice in Notice.objects.exclude(mail_at=None):
        Notice.objects.filter(pk=notice.pk).update(mail_at=notice.mail_at - timedelta(days=1))


# When


def test_nothing_is_mailed_where_the_site_sends_none(project, mira, settings):
    settings.EMAIL_NOTICES_FROM = ""
    tell(project)
    settings.EMAIL_NOTICES_FROM = "assay@example.org"
    assert send() == [], "nor later, when it does"


def test_the_background_worker_sends_one_each_with_a_link(project, mira):
    person(project, "ravi")
    make_user(project, role="researcher")  # without an address
    tell(project)
    assert mail.outbox == [], "never in the request"
    messages = send()
    assert sorted(message.to for message in messages) == [["mira@example.org"], ["ravi@example.org"]]
    assert messages[0].subject == "Everyday questions: It meets the rule."
    assert "https://assay.example.org/p/x/decisions/" in messages[0].body
    assert send() == [] and set(Notice.objects.values_list("mail_at", flat=True)) == {None}


def test_each_mail_says_where_to_switch_it_off_and_the_place_is_there(client, project, mira):
    tell(project)
    [message] = send()
    assert "https://assay.example.org/account/#e-mail" in message.body
    assert "manager of Everyday questions" in message.body
    client.force_login(mira)
    page = client.get(reverse("account")).content.decode()
    assert 'id="e-mail"' in page and "mira@example.org" in page


def test_by_default_a_failed_run_of_one_s_own_is_mailed_at_once_and_all_else_once_a_day(project):
    rita, rolf = person(project, "rita", "own_runs"), person(project, "rolf", "own_runs")
    assert make_user(project, role="researcher").memberships.get().notice_mail == "own_runs"
    run = make_run(project, state="failed", finished_at=timezone.now(), created_by=rita)
    look(alert_kinds.RUN_FAILED)
    tell(project)
    [message] = send()
    assert message.to == [rita.email] and run.name in message.subject
    assert f"https://assay.example.org/runs/{run.pk}/" in message.body
    a_day_goes_by()
    bodies = {message.to[0]: message for message in send()}
    assert run.name not in bodies[rita.email].body and "It meets the rule." in bodies[rita.email].body
    assert bodies[rolf.email].subject == "Everyday questions: 2 notices"
    assert run.name in bodies[rolf.email].body and "It meets the rule." in bodies[rolf.email].body
    assert send() == []


@pytest.mark.parametrize(("hour", "day"), [(6, 28), (7, 29), (23, 29)])
def test_the_daily_mail_goes_at_seven(project, monkeypatch, hour, day):
    person(project, "rita", "daily")
    monkeypatch.setattr(timezone, "now", lambda: datetime(2026, 11, 28, hour, 0, tzinfo=UTC))
    [notice] = tell(project)
    assert notice.mail_at == datetime(2026, 11, day, 7, 0, tzinfo=UTC)


def test_never_is_never(project):
    person(project, "rita", "never")
    [notice] = tell(project)
    assert notice.mail_at is None and send() == []


def test_what_was_seen_on_the_pages_or_is_over_is_not_mailed(project):
    rita = person(project, "rita", "daily")
    run = make_run(project, state="failed", finished_at=timezone.now())
    look(alert_kinds.RUN_FAILED)
    tell(project)
    notices.mark_seen(user=rita, ids=[rita.notices.get(alert=None).pk])
    Run.objects.filter(pk=run.pk).update(state="queued")
    look(alert_kinds.RUN_FAILED)
    a_day_goes_by()
    assert send() == []


@pytest.mark.parametrize("change", ["leaves", "annotates", "wants none", "is inactive", "has no address"])
def test_who_is_no_longer_to_be_told_gets_no_mail(project, mira, change):
    tell(project)
    members = Membership.objects.filter(user=mira)
    match change:
        case "leaves":
            members.delete()
        case "annotates":
            members.update(role="annotator")
        case "wants none":
            members.update(notice_mail="never")
        case "is inactive":
            type(mira).objects.filter(pk=mira.pk).update(is_active=False)
        case _:
            type(mira).objects.filter(pk=mira.pk).update(email="")
    assert send() == [] and Notice.objects.get().mail_at is None


def test_projects_are_mailed_apart_and_many_notices_in_one_mail(project, mira):
    other = make_project(name="Poems\nand songs")
    Membership.objects.create(project=other, user=mira, role="manager", notice_mail="at_once")
    tell(other)
    for n in range(60):
        tell(project, f"number {n}.")
    subjects = {message.subject: message for message in send()}
    assert subjects.keys() == {"Poems and songs: It meets the rule.", "Everyday questions: 60 notices"}
    body = subjects["Everyday questions: 60 notices"].body
    assert "number 0." in body and "number 49." in body and "number 50." not in body
    assert "And 10 more:\nhttps://assay.example.org/notices/" in body


# Faults


def test_a_mail_server_that_is_away_is_asked_again_and_takes_no_try(project, mira, monkeypatch):
    tell(project)

    class Away:
        def open(self) -> None:
            raise ConnectionRefusedError("nobody there")

    with monkeypatch.context() as patched:
        patched.setattr(notice_mail, "get_connection", Away)
        with pytest.raises(ConnectionRefusedError):  # the background worker waits, longer each time
            notice_mail.send_due()
    assert Notice.objects.get().mail_tries == 0
    assert len(send()) == 1


def test_a_mail_that_is_refused_is_tried_again_for_three_days_and_then_given_up(project, mira, monkeypatch, caplog):
    tell(project)
    monkeypatch.setattr(EmailMessage, "send", fails(SMTPServerDisconnected("gone")))
    for tries in range(1, 11):
        assert send() == []
        notice = Notice.objects.get()
        assert notice.mail_tries == tries and "gone" in caplog.text
        if tries < 10:
            assert notice.mail_at > timezone.now()
            Notice.objects.update(mail_at=timezone.now())
    assert notice.mail_at is None and notice.mailed_at is None


def test_an_address_that_no_header_takes_is_not_tried_again(project, mira, monkeypatch):
    tell(project)
    monkeypatch.setattr(EmailMessage, "send", fails(ValueError("Header values can't contain newlines")))
    send()
    assert Notice.objects.get().mail_at is None


def test_one_whose_sender_died_is_sent_again_when_its_lease_is_over(project, mira, monkeypatch):
    tell(project)
    with monkeypatch.context() as patched:
        patched.setattr(EmailMessage, "send", fails(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            notice_mail.send_due()
    assert send() == [], "somebody holds it"
    Notice.objects.update(mail_at=timezone.now())
    assert len(send()) == 1


def fails(error: BaseException) -> Any:
    def send(_: EmailMessage) -> int:
        raise error

    return send


@pytest.mark.django_db(transaction=True)
def test_two_background_workers_send_it_once():
    project = make_project(name="Everyday questions")
    person(project, "mira")
    tell(project)

    def work(_: int) -> None:
        try:
            notice_mail.send_due()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert len(mail.outbox) == 1 and Notice.objects.get().mail_tries == 1


# A real server


class MailBox(socketserver.ThreadingTCPServer):
    """Speak as much SMTP as one mail needs, and keep what comes."""

    daemon_threads = True

    def __init__(self) -> None:
        self.got: list[str] = []
        super().__init__(("127.0.0.1", 0), _Smtp)


class _Smtp(socketserver.StreamRequestHandler):
    server: MailBox

    def handle(self) -> None:
        self._say("220 here")
        while line := self.rfile.readline().decode().strip():
            match line[:4].upper():
                case "DATA":
                    self._say("354 go on")
                    lines = iter(lambda: self.rfile.readline().decode().rstrip("\r\n"), ".")
                    self.server.got.append("\n".join(lines))
                    self._say("250 kept")
                case "QUIT":
                    self._say("221 bye")
                    return
                case _:
                    self._say("250 fine")

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


@pytest.fixture
def mail_box(settings) -> Iterator[MailBox]:
    with MailBox() as box:
        threading.Thread(target=box.serve_forever, daemon=True).start()
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = box.server_address
        yield box
        box.shutdown()


def test_a_real_mail_server_gets_it(project, mira, mail_box):
    tell(project, "An answer with “quotes”.")
    notice_mail.send_due()
    [message] = mail_box.got
    assert "To: mira@example.org" in message and "From: assay@example.org" in message
    assert "Auto-Submitted: auto-generated" in message
    assert Notice.objects.get().mailed_at is not None


# The choice


def test_a_person_chooses_for_each_project_on_the_page_of_the_account(client, project, mira):
    other = make_project()
    here = mira.memberships.get()
    there = Membership.objects.create(project=other, user=mira, role="researcher")
    Membership.objects.create(project=make_project(name="As an annotator"), user=mira, role="annotator")
    client.force_login(mira)
    page = client.get(reverse("account")).content.decode()
    assert page.count("<select") == 2 and f'name="mail-{there.pk}"' in page
    chosen = {f"mail-{here.pk}": "daily", f"mail-{there.pk}": "never"}
    response = client.post(reverse("notice-mail"), chosen, follow=True)
    assert "Your choice is saved." in response.content.decode()
    here.refresh_from_db(), there.refresh_from_db()
    assert (here.notice_mail, there.notice_mail) == ("daily", "never")


def test_nobody_chooses_for_others_and_nothing_unknown_is_taken(client, project, mira):
    rita = person(project, "rita")
    client.force_login(mira)
    client.post(reverse("notice-mail"), {f"mail-{rita.memberships.get().pk}": "never"})
    assert rita.memberships.get().notice_mail == "at_once"
    response = client.post(reverse("notice-mail"), {f"mail-{mira.memberships.get().pk}": "hourly"})
    assert response.status_code == 400 and "own_runs, at_once, daily, never" in response.content.decode()


def test_annotators_and_installations_without_mail_are_offered_no_choice(client, project, mira, settings):
    client.force_login(make_user(project))
    assert 'id="e-mail"' not in client.get(reverse("account")).content.decode()
    settings.EMAIL_NOTICES_FROM = ""
    client.force_login(mira)
    page = client.get(reverse("account")).content.decode()
    assert "This installation sends no e-mail" in page and "<select" not in page


def test_a_program_reads_and_changes_the_choice(project, mira):
    address = f"projects/{project.slug}/notice-mail/"
    program = Program(mira)
    assert program.get(address).json() == {"when": "at_once"}
    assert program.put(address, {"when": "daily"}).json() == {"when": "daily"}
    assert mira.memberships.get().notice_mail == "daily"
    assert "when" in errors(program.put(address, {"when": "hourly"}), 400)
    staff = make_user(is_superuser=True)
    assert "project" in errors(Program(staff).get(address), 409)
