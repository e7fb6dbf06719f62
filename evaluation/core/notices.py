"""Notify people on the pages until they have seen it, and by e-mail as each of them chose for the project."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from annotate.core.permissions import ROLES_FOR
from annotate.models import Membership, NoticeMail, Project, User
from evaluation.models import Alert, Notice

NOTIFIED_ROLES = ROLES_FOR["research"]
LONGEST = 300
DIGEST_HOUR = 7  # of the day, when what is mailed once a day is mailed


def tell(
    *,
    project: Project,
    text: str,
    url: str,
    but: User | None = None,
    roles: Collection[str] = NOTIFIED_ROLES,
    alert: Alert | None = None,
    owner: int | None = None,
) -> list[Notice]:
    """Notify those of these roles in the project, except whoever did it. `owner` is the id of whose run it is about.

    Its mail is a column of the notice: `notice_mail` sends it in the background worker, after the commit.
    """
    now = timezone.now()
    return Notice.objects.bulk_create(
        Notice(
            **{"user": member.user, "project": project, "alert": alert, "text": shortened(text), "url": url},
            mail_at=_mail_at(member, now, is_own=member.user_id == owner),
        )
        for member in _members(project)
        if member.role in roles and (but is None or member.user_id != but.pk)
    )


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def unseen(user: User) -> QuerySet[Notice]:
    return Notice.objects.filter(user=user, seen_at=None)


def mark_seen(*, user: User, ids: Iterable[int] | None = None) -> int:
    """Mark these notices as seen, or all of them; return how many were new."""
    rows = unseen(user) if ids is None else unseen(user).filter(pk__in=list(ids))
    return rows.update(seen_at=timezone.now())


def count(request: HttpRequest) -> dict[str, Any]:
    """Count, for every page, how many notices wait for whoever is signed in. Asked of the database where a page shows
    it."""
    return {"notices_waiting": cache(lambda: _count(request))}


def _count(request: HttpRequest) -> int:
    user = getattr(request, "user", None)
    return unseen(user).count() if isinstance(user, User) and user.is_authenticated else 0


def _members(project: Project) -> QuerySet[Membership]:
    rows = Membership.objects.filter(project=project, role__in=NOTIFIED_ROLES, user__is_active=True)
    return rows.select_related("user")


def _mail_at(member: Membership, now: datetime, *, is_own: bool) -> datetime | None:
    """Return when a notice is mailed to a member: at once, with the next digest, or never."""
    choice = member.notice_mail
    if not settings.EMAIL_NOTICES_FROM or not member.user.email or choice == NoticeMail.NEVER:
        return None
    is_at_once = choice == NoticeMail.AT_ONCE or (choice == NoticeMail.OWN_RUNS and is_own)
    return now if is_at_once else _next_digest(now)


def _next_digest(now: datetime) -> datetime:
    digest = timezone.localtime(now).replace(hour=DIGEST_HOUR, minute=0, second=0, microsecond=0)
    return digest if digest > now else digest + timedelta(days=1)
