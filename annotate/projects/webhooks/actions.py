"""Make, change, try and switch off addresses that are told of events, for a project's managers."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from annotate.core import audit
from annotate.core.db.connections import database_now
from annotate.core.errors import Refused
from annotate.core.events import EVENTS
from annotate.core.network import outbound
from annotate.core.network.public_addresses import place
from annotate.core.permissions import require
from annotate.models import Delivery, Project, User, Webhook

MOST = 20
OLD_SECRET_LASTS = timedelta(days=1)
TEST = "webhook.test"


def add_webhook(*, project: Project, url: str, by: User, events: Sequence[str] = ()) -> Webhook:
    """Add a webhook with a new secret. Refused for an address that only this network reaches."""
    require(by, "manage", project)
    chosen = _checked_events(events)
    url = _checked(url)  # asks for the name, which may take long: outside the transaction, or SQLite waits for it
    return _add(project, url, chosen, by)


@transaction.atomic
def _add(project: Project, url: str, chosen: list[str], by: User) -> Webhook:
    if project.webhooks.count() >= MOST:
        raise Refused(409, url=f"A project has at most {MOST} webhooks; remove one.")
    _refuse_twin(project, url)
    webhook = Webhook.objects.create(project=project, url=url, secret=_new_secret(), events=chosen, created_by=by)
    audit.record(action="webhook.added", about=url, by=by, project=project, changes={"events": [None, chosen]})
    return webhook


def change_webhook(
    webhook: Webhook,
    *,
    by: User,
    url: str | None = None,
    events: Sequence[str] | None = None,
    is_active: bool | None = None,
) -> Webhook:
    """Change a webhook; None leaves a field. Switched on again, it gets what has waited meanwhile."""
    require(by, "manage", webhook.project)
    url = None if url is None else _checked(url)
    chosen = None if events is None else _checked_events(events)
    with transaction.atomic():
        _lock(webhook)
        before = _state(webhook)
        if url is not None and url != webhook.url:
            _refuse_twin(webhook.project, url)
            webhook.url, webhook.failing_since = url, None  # another address has failed nobody yet
        if chosen is not None:
            webhook.events = chosen
        if is_active is not None and is_active != webhook.is_active:
            webhook.is_active, webhook.failing_since = is_active, None
            webhook.switched_off_reason = "" if is_active else f"{by} switched it off."
        webhook.save(update_fields=["url", "events", "is_active", "failing_since", "switched_off_reason"])
        if changes := audit.differences(before, _state(webhook)):
            audit.record(action="webhook.changed", about=webhook.url, by=by, project=webhook.project, changes=changes)
    return webhook


def _refuse_twin(project: Project, url: str) -> None:
    if project.webhooks.filter(url=url).exists():
        raise Refused(409, url="This address has a webhook already; change its events instead.")


@transaction.atomic
def rotate_secret(webhook: Webhook, *, by: User) -> Webhook:
    """Return a new secret. For a day the old one signs too, so that the receiver can change over without losing an
    event; until then it is refused, as a third would drop what the receiver may still use."""
    require(by, "manage", webhook.project)
    _lock(webhook)
    if webhook.old_secret_until and webhook.old_secret_until > timezone.now():
        until = f"{timezone.localtime(webhook.old_secret_until):%d %b, %H:%M %Z}"
        raise Refused(
            409, secret=f"The old secret signs until {until}. Change it again after that; if others know the secret, "
            "remove the webhook and add its address again.",
        )  # fmt: skip
    webhook.old_secret, webhook.secret = webhook.secret, _new_secret()
    webhook.old_secret_until = timezone.now() + OLD_SECRET_LASTS
    webhook.save(update_fields=["secret", "old_secret", "old_secret_until"])
    audit.record(action="webhook.secret", about=webhook.url, by=by, project=webhook.project)
    return webhook


@transaction.atomic
def remove_webhook(webhook: Webhook, *, by: User) -> None:
    """Remove a webhook with its deliveries; the audit trail keeps that it was there."""
    require(by, "manage", webhook.project)
    _lock(webhook)
    audit.record(action="webhook.removed", about=webhook.url, by=by, project=webhook.project)
    webhook.delete()


@transaction.atomic
def send_test(webhook: Webhook, *, by: User) -> Delivery:
    """Send an event that tells of nothing, signed and logged as any other."""
    require(by, "manage", webhook.project)
    _lock(webhook)
    if not webhook.is_active:
        raise Refused(409, webhook="The webhook is off; switch it on first.")
    now = database_now()
    body = {"type": TEST, "timestamp": now.isoformat(), "data": {"project": webhook.project.slug, "by": by.username}}
    return Delivery.objects.create(webhook=webhook, event=TEST, body=body, next_try_at=now)


def send_again(delivery: Delivery, *, by: User) -> Delivery:
    """Return the same event under the same id, at once; its tries are counted anew."""
    require(by, "manage", delivery.webhook.project)
    if not delivery.webhook.is_active:
        raise Refused(409, webhook="The webhook is off; switch it on first.")
    now = database_now()
    again = Delivery.objects.filter(pk=delivery.pk).exclude(claimed_until__gt=now)
    if not again.update(state=Delivery.State.WAITING, tries=0, next_try_at=now, claimed_until=None):
        if not Delivery.objects.filter(pk=delivery.pk).exists():
            raise Refused(404, delivery="This event was deleted meanwhile; nothing is sent.")
        raise Refused(409, delivery="The event is being sent now; wait for the result.")
    delivery.refresh_from_db()
    return delivery


def _lock(webhook: Webhook) -> None:
    """Read a webhook as it is now: a delivery may have switched it off, another manager have changed or removed it."""
    try:
        webhook.refresh_from_db(from_queryset=Webhook.objects.select_for_update())
    except Webhook.DoesNotExist:
        raise Refused(
            404, webhook="This webhook was removed meanwhile; add its address again if you need it."
        ) from None


def _checked(url: str) -> str:
    url = url.strip() if isinstance(url, str) else ""
    try:
        to = place(url)
        outbound.require_allowed(to.host, to.port, settings.PRIVATE_WEBHOOKS)
    except ValueError as error:
        raise Refused(400, url=str(error)) from error
    except outbound.Refused as error:
        raise Refused(400, url=f"{error} (ASSAY_PRIVATE_WEBHOOKS)") from error
    except OSError as error:
        raise Refused(400, url=f"The host name was not found ({error}); check its spelling.") from error
    return url


def _checked_events(events: Sequence[str]) -> list[str]:
    if unknown := [event for event in events if event not in EVENTS]:
        raise Refused(400, events=f"{unknown[0]!r} is not an event; use {', '.join(EVENTS)}.")
    return [event for event in EVENTS if event in events]


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _state(webhook: Webhook) -> dict[str, object]:
    return {"url": webhook.url, "events": webhook.events, "is_active": webhook.is_active}
