"""Two managers at one webhook: neither loses the other's secret, and what is removed meanwhile is told."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections, transaction
from django.urls import reverse
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator

from annotate.core.errors import Refused
from annotate.models import Delivery, Webhook
from annotate.projects.webhooks import actions as webhooks
from annotate.projects.webhooks import deliveries
from annotate.projects.webhooks.sending import Outcome
from tests.support.api_client import Program, errors
from tests.support.processes import until

pytestmark = pytest.mark.django_db
LONG = 120  # seconds, for a busy machine: nothing waits so long
URL = "https://example.org/assay"


@pytest.fixture
def hook(project) -> Webhook:
    return Webhook.objects.create(project=project, url=URL, secret="whsec_eA==")


@pytest.fixture
def removed_meanwhile(monkeypatch):
    """While the host's name is asked for, somebody else removes the webhook."""

    def checked(url: str) -> str:
        Webhook.objects.all().delete()
        return url

    monkeypatch.setattr(webhooks, "_checked", checked)


def test_a_secret_is_not_changed_again_while_the_one_before_signs(hook, manager):
    used = hook.secret
    address = f"webhooks/{hook.pk}/rotate-secret/"
    new = Program(manager).post(address).json()["secret"]
    assert "signs until" in errors(Program(manager).post(address), 409)["secret"]
    assert deliveries.secrets_of(Webhook.objects.get()) == [new, used]
    Webhook.objects.update(old_secret_until=timezone.now())
    third = Program(manager).post(address).json()["secret"]
    assert deliveries.secrets_of(Webhook.objects.get()) == [third, new]


@pytest.mark.usefixtures("removed_meanwhile")
def test_a_page_says_that_its_webhook_was_removed_meanwhile(client, project, hook, manager):
    client.force_login(manager)
    address = reverse("webhook", args=[project.slug, hook.pk])
    answer = client.post(address, {"do": "save", "url": URL, "events": ["run.finished"]})
    assert answer.status_code == 404 and "was removed meanwhile" in answer.content.decode()


@pytest.mark.usefixtures("removed_meanwhile")
def test_a_program_is_told_that_its_webhook_was_removed_meanwhile(hook, manager):
    answer = Program(manager).patch(f"webhooks/{hook.pk}/", {"url": URL})
    assert "was removed meanwhile" in errors(answer, 404)["webhook"]


@pytest.mark.parametrize("act", [webhooks.rotate_secret, webhooks.send_test, webhooks.remove_webhook])
def test_nothing_is_done_to_a_webhook_that_was_removed_meanwhile(hook, manager, act):
    Webhook.objects.all().delete()
    with pytest.raises(Refused) as refused:
        act(hook, by=manager)
    assert refused.value.status == 404


def test_an_event_that_is_gone_is_not_said_to_be_sent_now(client, project, hook, manager, monkeypatch):
    sent = webhooks.send_test(hook, by=manager)
    monkeypatch.setattr(webhooks, "database_now", lambda: Delivery.objects.all().delete() and sent.next_try_at)
    client.force_login(manager)
    answer = client.post(reverse("webhook-again", args=[project.slug, hook.pk, sent.pk]))
    assert answer.status_code == 404 and "was deleted meanwhile" in answer.content.decode()


def somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return cursor.fetchone()[0]


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has one writer")
def test_a_webhook_is_removed_while_what_came_of_its_event_is_noted(hook, manager):
    webhooks.send_test(hook, by=manager)
    ((claimed, _),) = deliveries.claim(1, Counter())

    def note() -> None:
        try:
            deliveries.note(claimed, Outcome(200, "", 0.1))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as elsewhere:
        with transaction.atomic():
            Webhook.objects.select_for_update().get()
            noting = elsewhere.submit(note)
            until(somebody_waits, LONG, "it waits for the webhook")
            webhooks.remove_webhook(hook, by=manager)
        noting.result(LONG)
    assert not Delivery.objects.exists()


def test_the_schema_says_that_a_new_secret_may_have_to_wait():
    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
    assert "409" in paths["/api/v1/webhooks/{id}/rotate-secret/"]["post"]["responses"]
