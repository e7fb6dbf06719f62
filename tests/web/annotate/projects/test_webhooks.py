"""Webhooks against a real receiver that checks signatures with the standard's own library."""

from __future__ import annotations

import json
import socket
import threading
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.db import transaction
from django.utils import timezone
from standardwebhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from annotate.core.db.connections import database_now
from annotate.core.errors import Refused
from annotate.core.events import announce
from annotate.core.network import outbound
from annotate.core.network import public_addresses as addresses
from annotate.models import AuditEntry, Delivery, Webhook
from annotate.projects.webhooks import actions as webhooks
from annotate.projects.webhooks import deliveries, schedule, sending
from annotate.projects.webhooks.deliveries import Deliverer
from config.settings import private_webhooks
from evaluation.alerts.alert_kinds import WEBHOOK_OFF
from evaluation.alerts.alert_upkeep import look
from evaluation.models import Alert, Notice
from tests.support.api_client import Program, errors
from tests.support.factories import make_project, make_user


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent; answers `answers` one after the other, the last for ever."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[tuple[dict[str, str], str]] = []
        self.answers: list[tuple[int, dict[str, str], str]] = [(200, {}, "thanks")]
        self.delay = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?of=assay"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.got.append((dict(self.headers), body))
        time.sleep(self.server.delay)
        status, headers, text = self.server.answers[0]
        if len(self.server.answers) > 1:
            self.server.answers.pop(0)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def receiver():
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def project(db, settings):
    settings.PRIVATE_WEBHOOKS = ("127.0.0.1",)
    return make_project()


@pytest.fixture
def hook(project, manager, receiver) -> Webhook:
    return webhooks.add_webhook(project=project, url=receiver.url, by=manager)


def tell(project, n: int = 1, event: str = "dataset.frozen") -> None:
    announce(project=project, event=event, data={"dataset": n, "name": "ünïcode"})


def deliver(seconds: float = 5.0) -> None:
    """Until nothing is on its way."""
    deliverer, end = Deliverer(), time.monotonic() + seconds
    while (deliverer.do() or deliverer._on_their_way) and time.monotonic() < end:
        pass
    deliverer.end()


def make_due() -> None:
    Delivery.objects.filter(state="waiting").update(next_try_at=database_now())


def test_an_event_arrives_signed(project, hook, receiver):
    tell(project)
    deliver()
    (headers, body), delivery = receiver.got[0], Delivery.objects.get()
    assert Verifier(hook.secret).verify(body, headers)["data"] == {
        "project": project.slug,
        "dataset": 1,
        "name": "ünïcode",
    }
    assert headers["webhook-id"] == deliveries.message_id(delivery) and headers["Content-Type"] == "application/json"
    assert delivery.state == "delivered" and delivery.tries == 1 and delivery.next_try_at is None
    assert delivery.log[0]["status"] == 200 and delivery.log[0]["said"] == "thanks"
    with pytest.raises(WebhookVerificationError):
        Verifier(hook.secret).verify(body + " ", headers)


def test_only_the_events_that_were_asked_for_are_sent(project, hook, manager):
    webhooks.change_webhook(hook, events=["run.finished"], by=manager)
    tell(project)
    assert not Delivery.objects.exists()
    tell(project, event="run.finished")
    assert Delivery.objects.count() == 1


def test_what_failed_is_sent_again_under_the_same_id_at_the_standards_times(project, hook, receiver):
    receiver.answers = [(500, {}, "broken"), (200, {}, "")]
    tell(project)
    deliver()
    delivery = Delivery.objects.get()
    wait = (delivery.next_try_at - timezone.now()).total_seconds()
    assert delivery.state == "waiting" and delivery.tries == 1 and 3 < wait <= 5.5
    hook.refresh_from_db()
    assert hook.failing_since is not None
    deliver()
    assert len(receiver.got) == 1  # not before its time
    make_due()
    deliver()
    ids = {headers["webhook-id"] for headers, _ in receiver.got}
    delivery.refresh_from_db()
    hook.refresh_from_db()
    assert len(receiver.got) == 2 and len(ids) == 1 and delivery.state == "delivered" and hook.failing_since is None
    assert [entry["status"] for entry in delivery.log] == [500, 200]


def test_after_ten_tries_an_event_is_given_up(project, hook, receiver):
    receiver.answers = [(503, {}, "")]
    tell(project)
    for _ in range(12):
        make_due()
        deliver()
    delivery = Delivery.objects.get()
    assert len(receiver.got) == 10 and delivery.state == "given_up" and len(delivery.log) == 10


def test_the_times_are_those_of_the_standard_and_a_receiver_may_ask_for_more():
    now = timezone.now()
    waits = [schedule.next_try(now, n) for n in range(1, 10)]
    seconds = [(at - now).total_seconds() for at in waits if at]
    for got, wanted in zip(seconds, (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400), strict=True):
        assert 0.9 * wanted <= got <= 1.1 * wanted
    assert schedule.next_try(now, 10) is None
    assert (schedule.next_try(now, 1, 120.0) - now).total_seconds() == 120
    assert (schedule.next_try(now, 1, 1e9) - now).total_seconds() == 24 * 3600


def test_410_switches_off_and_says_so(project, hook, receiver):
    receiver.answers = [(410, {}, "")]
    tell(project)
    deliver()
    hook.refresh_from_db()
    assert not hook.is_active and "410" in hook.switched_off_reason
    assert AuditEntry.objects.filter(action="webhook.switched_off", project=project).count() == 1
    tell(project)
    assert Delivery.objects.count() == 1


def test_days_without_success_switch_off(project, hook, receiver, manager):
    receiver.answers = [(500, {}, "")]
    Webhook.objects.update(failing_since=timezone.now() - timedelta(days=6))
    tell(project)
    deliver()
    hook.refresh_from_db()
    assert not hook.is_active and "5 days" in hook.switched_off_reason
    receiver.answers = [(204, {}, "")]
    webhooks.change_webhook(hook, is_active=True, by=manager)
    make_due()
    deliver()
    assert Delivery.objects.get().state == "delivered"


def test_its_managers_are_told_when_it_is_switched_off(client, project, hook, receiver, manager):
    researcher = make_user(project, role="researcher")
    receiver.answers = [(410, {}, "")]
    tell(project, 1)
    tell(project, 2)
    deliver()
    look(WEBHOOK_OFF), look(WEBHOOK_OFF)
    notice = Notice.objects.get()
    assert notice.user == manager and notice.project == project and "410" in notice.text and hook.url in notice.text
    client.force_login(manager)
    assert "410" in client.get(notice.url).content.decode()  # it leads to where it is switched on again
    assert not Notice.objects.filter(user=researcher).exists()
    hook.refresh_from_db()
    webhooks.change_webhook(hook, is_active=True, by=manager)
    look(WEBHOOK_OFF)
    assert not Alert.objects.open().exists()


@pytest.mark.parametrize(
    ("head", "status", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", None, "No answer within"),
        (b"HTTP/1.1 200 OK\r\n\r\nthanks", 200, "thanks"),  # the status stands, and what was said by then
    ],
)
def test_a_receiver_that_drips_its_answer_holds_nobody_up(project, hook, monkeypatch, head, status, said):
    monkeypatch.setattr(sending, "TIMEOUT", 1.0)
    server, stop = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def drip() -> None:
        with server.accept()[0] as connection:
            connection.sendall(head)
            while not stop.wait(0.1):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    began = time.monotonic()
    outcome = sending.send(
        url=f"http://127.0.0.1:{server.getsockname()[1]}/", secrets=[hook.secret], message_id="msg_1", body="{}",
        at=timezone.now(), allowed=("127.0.0.1",),
    )  # fmt: skip
    stop.set()
    thread.join(5)
    server.close()
    assert outcome.status == status and said in outcome.text
    assert time.monotonic() - began < 3


def test_a_receiver_that_checks_refuses_what_was_changed_or_kept_for_later(project, hook, receiver):
    tell(project)
    deliver()
    headers, body = receiver.got[0]
    verifier = Verifier(hook.secret)
    assert verifier.verify(body, headers)["type"] == "dataset.frozen"
    for changed in (
        (body.replace('"dataset":1', '"dataset":2'), headers),
        (body, headers | {"webhook-id": "msg_other"}),
        (body, headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) - 3_600)}),
    ):
        with pytest.raises(WebhookVerificationError):
            verifier.verify(*changed)


def test_a_redirect_is_not_followed(project, hook, receiver):
    receiver.answers = [(302, {"Location": receiver.url}, "")]
    tell(project)
    deliver()
    assert len(receiver.got) == 1 and "redirects to" in Delivery.objects.get().log[0]["said"]


def test_nobody_there_and_no_answer_in_time_are_failures(project, hook, receiver, monkeypatch):
    monkeypatch.setattr(sending, "TIMEOUT", 0.3)
    receiver.delay = 1.0
    tell(project)
    deliver()
    assert "No answer within" in Delivery.objects.get().log[0]["said"]
    receiver.shutdown()
    receiver.server_close()
    make_due()
    deliver()
    assert Delivery.objects.get().log[1]["status"] is None


def test_a_new_secret_and_for_a_day_the_old_one_too(project, hook, receiver, manager):
    old = hook.secret
    webhooks.rotate_secret(hook, by=manager)
    tell(project)
    deliver()
    headers, body = receiver.got[0]
    Verifier(old).verify(body, headers)
    Verifier(hook.secret).verify(body, headers)
    Webhook.objects.update(old_secret_until=timezone.now() - timedelta(seconds=1))
    tell(project)
    deliver()
    headers, body = receiver.got[1]
    Verifier(hook.secret).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(old).verify(body, headers)


def test_two_background_workers_send_each_event_once(project, hook, receiver):
    for n in range(20):
        tell(project, n)
    workers = [Deliverer(), Deliverer()]
    end = time.monotonic() + 10
    while Delivery.objects.filter(state="waiting").exists() and time.monotonic() < end:
        for worker in workers:
            worker.do()
    for worker in workers:
        worker.end()
    assert sorted(json.loads(body)["data"]["dataset"] for _, body in receiver.got) == list(range(20))


def test_a_background_worker_that_died_after_sending_is_followed_by_one_that_sends_the_same_again(
    project, hook, receiver
):
    tell(project)
    ((claimed, _delivery),) = deliveries.claim(1, deliveries.Counter())
    assert not deliveries.claim(1, deliveries.Counter())  # nobody else gets it meanwhile
    Delivery.objects.update(claimed_until=timezone.now() - timedelta(seconds=1))
    deliver()
    assert Delivery.objects.get().state == "delivered"
    deliveries.note(claimed, sending.Outcome(500, "late", 1.0))  # the dead one's news comes too late
    assert Delivery.objects.get().state == "delivered"


@pytest.mark.parametrize("hours", [-1, 1])
def test_deliveries_go_by_the_databases_clock(project, hook, receiver, manager, monkeypatch, hours):
    """Whoever tells of an event, or delivers it, may be on a machine whose clock is wrong."""
    right = timezone.now
    with monkeypatch.context() as wrong:
        wrong.setattr(timezone, "now", lambda: right() + timedelta(hours=hours))
        tell(project)
    ((claimed, delivery),) = deliveries.claim(1, deliveries.Counter())
    with monkeypatch.context() as wrong:
        wrong.setattr(timezone, "now", lambda: right() + timedelta(hours=hours))
        assert not deliveries.claim(1, deliveries.Counter()), "sent twice"
        with pytest.raises(Refused, match="being sent now"):
            webhooks.send_again(delivery, by=manager)
        deliveries.note(claimed, sending.Outcome(500, "broken", 1.0))
    delivery.refresh_from_db()
    assert 3 < (delivery.next_try_at - database_now()).total_seconds() <= 5.5


def test_one_slow_address_does_not_hold_up_another(project, hook, receiver, manager):
    quick = Receiver()
    threading.Thread(target=quick.serve_forever, args=(0.02,), daemon=True).start()
    webhooks.add_webhook(project=project, url=quick.url, by=manager)
    receiver.delay = 1.5
    for n in range(6):
        tell(project, n)
    deliverer, end = Deliverer(), time.monotonic() + 1.2
    while len(quick.got) < 6 and time.monotonic() < end:
        deliverer.do()
    assert len(quick.got) == 6 and len(receiver.got) <= deliveries.PER_HOOK
    quick.shutdown()
    deliverer.end()


def test_a_fault_of_ours_in_one_delivery_holds_up_no_other(project, hook, receiver, monkeypatch):
    send = deliveries.send

    def fails_once(**fields):
        monkeypatch.setattr(deliveries, "send", send)
        raise RuntimeError("a mistake")

    monkeypatch.setattr(deliveries, "send", fails_once)
    tell(project, 1)
    tell(project, 2)
    deliver()
    assert sorted(Delivery.objects.values_list("state", "tries")) == [("delivered", 1), ("waiting", 1)]
    assert "RuntimeError" in Delivery.objects.get(state="waiting").log[0]["said"]


def test_sent_again_by_hand_and_a_test_event(project, hook, receiver, manager):
    tell(project)
    deliver()
    webhooks.send_again(Delivery.objects.get(), by=manager)
    deliver()
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1 and len(receiver.got) == 2
    webhooks.send_test(hook, by=manager)
    deliver()
    assert json.loads(receiver.got[2][1])["type"] == "webhook.test"


@pytest.mark.parametrize("body", [None, "x", 1, True, [], [None], {}, {"delivery": None}, {"delivery": 0}])
def test_sending_again_wants_the_id_of_a_delivery(project, hook, manager, body):
    refused = Program(manager).http.post(f"/api/v1/webhooks/{hook.pk}/send-again/", body, format="json")
    assert errors(refused)


PRIVATE = (
    *("127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "::1", "fd00::1", "fe80::1"),
    *("::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "224.0.0.1", "::"),
    *("::7f00:1", "fec0::1", "192.0.0.8", "3fff::1", "2001:0:7f00:1::"),
)
NO_ADDRESSES = (
    *("ftp://example.org/", "example.org", "https://", "https://a:b@example.org/", "http://x:99999/", "http://a b/"),
    *("http://127.0.0.1/", "http://[::1]:80/", "http://localhost:6379/", "http://169.254.169.254/latest/", ""),
)


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_only_this_network_reaches_are_known(address):
    assert not addresses.is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:93.184.216.34"])
def test_addresses_of_the_public_are_known(address):
    assert addresses.is_public(address)


@pytest.mark.parametrize("url", NO_ADDRESSES)
def test_what_is_no_address_to_send_to_is_refused(project, manager, settings, url):
    settings.PRIVATE_WEBHOOKS = ()
    with pytest.raises(Refused) as refused:
        webhooks.add_webhook(project=project, url=url, by=manager)
    assert set(refused.value.errors) == {"url"} and not Webhook.objects.exists()


def test_a_name_that_moves_inside_after_it_was_added_is_not_asked(project, hook, receiver, settings):
    settings.PRIVATE_WEBHOOKS = ()  # as if it had been public when it was added
    tell(project)
    deliver()
    assert not receiver.got and "inside a private network" in Delivery.objects.get().log[0]["said"]


def test_only_what_the_operator_names_is_reached_inside(project, hook, receiver, manager, settings):
    settings.PRIVATE_WEBHOOKS = outbound.read_list(f"127.0.0.1:{receiver.server_port}")
    tell(project)
    deliver()
    assert len(receiver.got) == 1 and Delivery.objects.get().state == "delivered"
    with pytest.raises(Refused, match="ASSAY_PRIVATE_WEBHOOKS"):
        webhooks.add_webhook(project=project, url="http://127.0.0.1:6379/", by=manager)


def test_the_operators_older_switch_still_allows_every_address():
    assert private_webhooks({"WEBHOOK_ALLOW_PRIVATE": "1", "ASSAY_PRIVATE_WEBHOOKS": "10.0.0.9"}) == outbound.EVERYWHERE
    assert private_webhooks({"WEBHOOK_ALLOW_PRIVATE": "0", "ASSAY_PRIVATE_WEBHOOKS": "10.0.0.9"}) == ("10.0.0.9",)
    assert private_webhooks({}) == ()


def test_a_name_that_nobody_can_look_up_is_a_failure(monkeypatch):
    how = {"secrets": ["whsec_AAAA"], "message_id": "msg_1", "body": "{}", "at": timezone.now(), "allowed": ()}
    too_long = sending.send(url=f"http://{'a' * 64}.example/", **how)
    assert too_long.status is None and "label" in too_long.text

    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert sending.send(url="http://example.org/", **how).text == "The host name was not found: not known."


def test_only_managers_have_webhooks(project, hook):
    for role in ("annotator", "reviewer", "researcher"):
        other = make_user(project, role=role)
        for change in (webhooks.send_test, webhooks.rotate_secret, webhooks.remove_webhook):
            with pytest.raises(Refused) as refused:
                change(hook, by=other)
            assert refused.value.status == 403


def test_every_change_is_in_the_audit_trail(project, hook, manager):
    webhooks.change_webhook(hook, events=["run.finished"], by=manager)
    webhooks.rotate_secret(hook, by=manager)
    webhooks.remove_webhook(hook, by=manager)
    rows = list(AuditEntry.objects.order_by("id").values_list("action", flat=True))
    assert rows == ["webhook.added", "webhook.changed", "webhook.secret", "webhook.removed"]
    assert not any(hook.secret in json.dumps(entry.changes) for entry in AuditEntry.objects.all())


def test_a_name_is_looked_up_outside_the_transaction(project, manager, monkeypatch, client, transactional_db):
    """On SQLite a transaction that may write keeps everybody else from writing, and a lookup may take long."""
    looked = []

    def slow(host, port, allowed):
        looked.append(transaction.get_connection().in_atomic_block)
        return ["93.184.216.34"]

    monkeypatch.setattr(outbound, "require_allowed", slow)
    client.force_login(manager)
    sent = {"project": project.slug, "url": "https://example.org/api"}
    headers = {"Idempotency-Key": "k"}
    replies = [
        client.post("/api/v1/webhooks/", sent, content_type="application/json", headers=headers) for _ in range(2)
    ]
    assert [reply.status_code for reply in replies] == [201, 201] and Webhook.objects.count() == 1
    client.post(f"/p/{project.slug}/webhooks/", {"url": "https://example.org/page"})
    webhooks.change_webhook(Webhook.objects.first(), url="https://example.org/other", by=manager)
    assert len(looked) == 3 and not any(looked)


def test_a_test_event_to_an_address_that_is_switched_off_is_refused(hook, manager):
    webhooks.change_webhook(hook, is_active=False, by=manager)
    with pytest.raises(Refused, match="switch it on first"):
        webhooks.send_test(hook, by=manager)
    assert not Delivery.objects.exists()


def test_another_address_starts_without_the_failures_of_the_old_one(project, hook, receiver, manager):
    Webhook.objects.update(failing_since=timezone.now() - timedelta(days=6))
    hook.refresh_from_db()
    webhooks.change_webhook(hook, url=f"{receiver.url}&new=1", by=manager)
    receiver.answers = [(500, {}, "not yet")]
    tell(project)
    deliver()
    hook.refresh_from_db()
    assert hook.is_active


def test_who_changes_its_events_does_not_switch_it_on_again(hook, manager):
    seen = Webhook.objects.get(pk=hook.pk)
    Webhook.objects.update(is_active=False, switched_off_reason="410", failing_since=timezone.now())  # by a delivery
    changed = webhooks.change_webhook(seen, by=manager, events=["run.finished"])
    hook.refresh_from_db()
    assert (hook.is_active, hook.switched_off_reason, hook.events) == (False, "410", ["run.finished"])
    assert hook.failing_since and not changed.is_active


def test_an_address_is_not_changed_into_one_that_stands_already(project, hook, receiver, manager):
    other = webhooks.add_webhook(project=project, url=f"{receiver.url}&two=2", by=manager)
    with pytest.raises(Refused, match="has a webhook already"):
        webhooks.change_webhook(other, url=hook.url, by=manager)
    assert webhooks.change_webhook(hook, url=hook.url, by=manager).url == hook.url
