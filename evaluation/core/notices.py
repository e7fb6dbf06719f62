"""Notify people on the pages until they have seen it, and by e-mail where the site can send any."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from functools import cache
from typing import Any

from django.conf import settings
from django.core.mail import send_mass_mail
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from annotate.models import Membership, Project, Role, User
from evaluation.models import Notice

TOLD = (Role.MANAGER, Role.RESEARCHER)
LONGEST = 300
log = logging.getLogger("assay.notices")


def tell(
    *, project: Project, text: str, url: str, but: User | None = None, roles: Collection[str] = TOLD
) -> list[Notice]:
    """Notify those of these roles in the project, except whoever did it. An e-mail goes out after the commit."""
    people = [
        member.user
        for member in _members(project)
        if member.role in roles and (but is None or member.user_id != but.pk)
    ]
    short = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    notices = Notice.objects.bulk_create(Notice(user=user, project=project, text=short, url=url) for user in people)
    if settings.EMAIL_NOTICES_FROM:
        addresses = [user.email for user in people if user.email]
        transaction.on_commit(lambda: _send(project, text, url, addresses))
    return notices


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
    return Membership.objects.filter(project=project, role__in=TOLD, user__is_active=True).select_related("user")


def _send(project: Project, text: str, url: str, addresses: list[str]) -> None:
    """Send one message each, so that nobody reads the others' addresses. A mail server that is away stops nothing."""
    body = f"{text}\n\n{settings.SITE_URL}{url}\n"
    subject = " ".join(f"{project.name}: {text}".split())[:120]  # a header is one line
    messages = [(subject, body, settings.EMAIL_NOTICES_FROM, [address]) for address in addresses]
    try:
        send_mass_mail(messages)
    except OSError as error:  # SMTPException is one
        log.warning("%d e-mails were not sent: %s", len(messages), error)
