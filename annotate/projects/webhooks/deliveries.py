"""Deliver events to their addresses: claimed by a lease, sent side by side, and noted. Their times are the database's,
whatever the background workers' and servers' own clocks say.

A background worker that dies between sending and noting lets its lease run out, and the event is sent again with the
same id: at least once, and a receiver knows the second by its id.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from annotate.core import audit
from annotate.core.db.connections import database_now
from annotate.models import Delivery, Webhook
from annotate.projects.webhooks.schedule import next_try, why_off
from annotate.projects.webhooks.sending import TIMEOUT, Outcome, send

LEASE = timedelta(seconds=TIMEOUT * 4)
AT_ONCE, PER_HOOK = 8, 3  # an address that never answers holds up neither the others nor the background worker
log = logging.getLogger("assay.webhooks")
_GLANCE = 0.1  # seconds in which quick answers are waited for


@dataclass(frozen=True)
class Claimed:
    pk: int
    webhook: int
    until: datetime


class Deliverer:
    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._on_their_way: dict[Future[Outcome], Claimed] = {}

    def do(self) -> bool:
        """Note what has come back, send what is due."""
        for claimed, delivery in claim(AT_ONCE - len(self._on_their_way), Counter(self._hooks())):
            self._on_their_way[self._start(delivery)] = claimed
        if not self._on_their_way:
            return False
        back, _ = wait(self._on_their_way, timeout=_GLANCE, return_when=FIRST_COMPLETED)
        for future in back:
            note(self._on_their_way[future], _outcome(future))
            del self._on_their_way[future]
        return bool(back)

    def has_some(self) -> bool:
        """Return whether some are on their way."""
        return bool(self._on_their_way)

    def end(self) -> None:
        """End: what comes back at once is noted; the rest is sent again when its lease has run out."""
        back, _ = wait(self._on_their_way, timeout=2.0)
        for future in back:
            note(self._on_their_way[future], _outcome(future))
        self._on_their_way = {}
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def _hooks(self) -> list[int]:
        return [claimed.webhook for claimed in self._on_their_way.values()]

    def _start(self, delivery: Delivery) -> Future[Outcome]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="delivery")
        return self._pool.submit(
            send,
            url=delivery.webhook.url,
            secrets=secrets_of(delivery.webhook),
            message_id=message_id(delivery),
            body=json.dumps(delivery.body, ensure_ascii=False, separators=(",", ":")),
            at=timezone.now(),
            allowed=settings.PRIVATE_WEBHOOKS,
        )


def _outcome(future: Future[Outcome]) -> Outcome:
    """Return what came of one; a fault of ours is a failure like others, and holds up no other delivery."""
    if (error := future.exception()) is None:
        return future.result()
    log.error("an event could not be sent", exc_info=error)
    return Outcome(None, f"It could not be sent: {type(error).__name__}.", 0.0)


def message_id(delivery: Delivery) -> str:
    """Return the same for every try."""
    return f"msg_{delivery.message_id.hex}"


def secrets_of(webhook: Webhook) -> list[str]:
    """Return the new one first; the old one as long as its day lasts."""
    until = webhook.old_secret_until
    return [webhook.secret, *([webhook.old_secret] if until and until > timezone.now() else [])]


def due(now: datetime) -> QuerySet[Delivery]:
    """Return what is to be sent at `now` and under nobody's lease."""
    free = Q(claimed_until=None) | Q(claimed_until__lt=now)
    return Delivery.objects.filter(
        free, state=Delivery.State.WAITING, next_try_at__lte=now, webhook__is_active=True
    ).order_by("next_try_at", "id")


def claim(n: int, under_way: Counter[int]) -> list[tuple[Claimed, Delivery]]:
    """Return at most `n` deliveries that are due, claimed for this process, and few of each address at once."""
    claimed: list[tuple[Claimed, Delivery]] = []
    if n <= 0:
        return claimed
    now = database_now()
    full = [hook for hook, count in under_way.items() if count >= PER_HOOK]
    for pk, hook in due(now).exclude(webhook__in=full).values_list("pk", "webhook")[: n * 8]:
        if len(claimed) >= n:
            break
        until = now + LEASE
        if under_way[hook] < PER_HOOK and Delivery.objects.filter(pk__in=due(now).filter(pk=pk)).update(
            claimed_until=until
        ):
            under_way[hook] += 1
            claimed.append((Claimed(pk, hook, until), Delivery.objects.select_related("webhook").get(pk=pk)))
    return claimed


@transaction.atomic
def note(claimed: Claimed, outcome: Outcome) -> None:
    """Note the outcome, unless our lease ran out and somebody else has sent it since."""
    # The webhook first: whoever removes it with its deliveries has it, and goes on to them.
    webhook = Webhook.objects.select_for_update().filter(pk=claimed.webhook).first()
    claimed_rows = Delivery.objects.select_for_update().filter(pk=claimed.pk, claimed_until=claimed.until)
    delivery = claimed_rows.first()
    if webhook is None or delivery is None:
        return
    now = database_now()
    delivery.tries += 1
    delivery.log = [*delivery.log, _entry(now, outcome)]
    delivery.claimed_until = None
    if outcome.is_good:
        delivery.state, delivery.delivered_at, delivery.next_try_at = Delivery.State.DELIVERED, now, None
        if webhook.failing_since is not None:
            webhook.failing_since = None
            webhook.save(update_fields=["failing_since"])
    else:
        delivery.next_try_at = next_try(now, delivery.tries, outcome.retry_after)
        if delivery.next_try_at is None:
            delivery.state = Delivery.State.GIVEN_UP
        _failed(webhook, now, outcome)
    delivery.save(update_fields=["tries", "log", "claimed_until", "state", "delivered_at", "next_try_at"])


def _entry(now: datetime, outcome: Outcome) -> dict[str, object]:
    return {
        "at": now.isoformat(),
        "status": outcome.status,
        "seconds": round(outcome.seconds, 3),
        "said": outcome.text,
    }


def _failed(webhook: Webhook, now: datetime, outcome: Outcome) -> None:
    """Note since when it fails; switch it off when that is long ago, or when the receiver wants no more."""
    webhook.failing_since = webhook.failing_since or now
    reason = why_off(now, outcome.status, webhook.failing_since)
    if reason and webhook.is_active:
        webhook.is_active, webhook.switched_off_reason = False, reason
        audit.record(
            action="webhook.switched_off",
            about=webhook.url,
            by=None,
            project=webhook.project,
            changes={"is_active": [True, False]},
            reason=reason,
        )
    webhook.save(update_fields=["failing_since", "is_active", "switched_off_reason"])
