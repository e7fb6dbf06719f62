"""Announce events to other tools: an event is written with the change that it is about, and delivered afterwards.

The rows are the outbox: a process that dies between the change and the delivery loses nothing. See `deliveries`.
"""

from __future__ import annotations

from typing import Any

from annotate.core.db.connections import database_now
from annotate.core.db.prepared import Prepared, Slot
from annotate.models import Dataset, Delivery, Project, Webhook

# Types of events, as Standard Webhooks writes them, and when each is sent.
EVENTS = {
    "judgement.submitted": "Somebody sent an annotation.",
    "judgement.status": "The status of an annotation changed: held, excluded, withdrawn or counted again.",
    "battle.voted": "A vote was cast in the arena.",
    "dataset.frozen": "A dataset was frozen.",
    "import.finished": "An import ended, with or without success.",
    "run.finished": "A run ended, with or without success.",
    "alert.opened": "An alert was opened: a run failed or waits, a queue has stopped, or an annotator is flagged.",
    "alert.closed": "An alert was closed: its cause no longer exists.",
    "model.promoted": "A model became the project's default.",
    "arena.held_rate": "The share of held votes increased suddenly.",
    "member.changed": "Somebody joined, left, or got another role.",
}

_hooks = Prepared(lambda: Webhook.objects.filter(project=Slot("project"), is_active=True))


def announce(*, project: Project, event: str, data: dict[str, Any]) -> None:
    """Announce an event inside the transaction of its cause. `data` names rows by id, and never a blind annotator's
    pair."""
    if event not in EVENTS:
        raise ValueError(f"{event!r} is not an event; use {', '.join(EVENTS)}.")
    hooks = [hook for hook in _hooks.rows(project=project.pk) if not hook.events or event in hook.events]
    if not hooks:
        return
    now = database_now()
    body = {"type": event, "timestamp": now.isoformat(), "data": {"project": project.slug, **data}}
    Delivery.objects.bulk_create(Delivery(webhook=hook, event=event, body=body, next_try_at=now) for hook in hooks)


def announce_dataset(dataset: Dataset) -> None:
    """Announce a frozen dataset, whatever froze it."""
    data = {"dataset": dataset.pk, "name": dataset.name, "kind": dataset.kind, "side": dataset.side}
    data |= {"content_hash": dataset.content_hash, "counts": dataset.counts}
    announce(project=dataset.project, event="dataset.frozen", data=data)
