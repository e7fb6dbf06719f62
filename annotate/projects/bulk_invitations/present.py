"""Describe invitations by batch: how far their mails are, and what became of each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, F, Max, Q, QuerySet
from django.utils import timezone

from annotate.models import Invitation, Project

ACCEPTED, WITHDRAWN, EXPIRED, OPENED, NOT_MAILED = "accepted", "withdrawn", "expired", "opened", "not mailed"


@dataclass(frozen=True)
class Batch:
    """The invitations of one name; "" for those without. Of the `mailed`, `to_send` are still on their way."""

    name: str
    people: int
    accepted: int
    opened: int
    withdrawn: int
    expired: int
    to_send: int
    mailed: int
    failed: int
    open: int
    newest: datetime

    @property
    def sent(self) -> int:
        """Return how many mails are no longer on their way, failed ones included."""
        return self.mailed - self.to_send


def batches_of(project: Project) -> list[Batch]:
    """Return the batches of a project, the newest first, counted in one query."""
    return sorted(_counted(project.invitations.all()), key=lambda batch: batch.newest, reverse=True)


def batch_named(project: Project, name: str) -> Batch | None:
    """Return one batch of a project; None where nobody was invited in it. Its page asks every other second."""
    return next(iter(_counted(project.invitations.filter(batch=name))), None)


def _counted(invitations: QuerySet[Invitation]) -> list[Batch]:
    now = timezone.now()
    unanswered = Q(accepted_at=None, revoked_at=None)
    is_open = unanswered & Q(expires_at__gt=now)
    rows = (
        invitations.order_by()
        .values(name=F("batch"))
        .annotate(
            people=Count("pk"),
            accepted=Count("pk", filter=Q(accepted_at__isnull=False)),
            opened=Count("pk", filter=is_open & Q(opened_at__isnull=False)),
            withdrawn=Count("pk", filter=Q(revoked_at__isnull=False)),
            expired=Count("pk", filter=unanswered & Q(expires_at__lte=now)),
            to_send=Count("pk", filter=is_open & Q(mail__in=["waiting", "sending"])),
            mailed=Count("pk", filter=~Q(mail="")),
            failed=Count("pk", filter=is_open & Q(mail="failed")),
            open=Count("pk", filter=is_open),
            newest=Max("created_at"),
        )
    )
    return [Batch(**row) for row in rows]


def state_of(invitation: Invitation) -> str:
    """Return in one word what became of it: the last thing that happened."""
    if invitation.accepted_at:
        return ACCEPTED
    if invitation.revoked_at:
        return WITHDRAWN
    if invitation.expires_at <= timezone.now():
        return EXPIRED
    if invitation.opened_at:
        return OPENED
    return invitation.mail or NOT_MAILED
