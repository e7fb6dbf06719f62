"""Mail notices in the background: what is due for a person in a project goes out in one message.

Notices are claimed before they are sent, by a later time. A background worker that dies meanwhile lets that time come,
and they are sent again: at least once. A mail that fails is tried again at the times of webhooks.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import transaction
from django.db.models import F, QuerySet
from django.urls import reverse
from django.utils import timezone

from annotate.core.periodic_tasks import PeriodicTask
from annotate.models import Membership, NoticeMail
from annotate.projects.webhooks.schedule import next_try
from evaluation.core.notices import NOTIFIED_ROLES
from evaluation.models import Notice

AT_ONCE = 10  # messages of one round: others of the background worker's tasks wait for it
LEASE = timedelta(minutes=10)
MOST_LISTED = 50  # notices of one message
log = logging.getLogger("assay.notices")


def periodic_task() -> PeriodicTask:
    return PeriodicTask("mails of notices", send_due, every=5.0)


def send_due() -> bool:
    """Send a few of the messages that are due; return whether there may be more. Raises OSError where the mail server
    is away."""
    due = _due(timezone.now())
    if not settings.EMAIL_NOTICES_FROM or not due.exists():
        return False
    recipients = list(due.order_by("user_id", "project_id").values_list("user_id", "project_id").distinct()[:AT_ONCE])
    connection = get_connection()
    connection.open()
    try:
        for user, project in recipients:
            if notices := _claim(user, project):
                _send(notices, connection)
    finally:
        connection.close()
    return len(recipients) == AT_ONCE


def _due(now: datetime) -> QuerySet[Notice]:
    """Return what is to be mailed at `now`; what was seen on the pages is not."""
    return Notice.objects.filter(mail_at__lte=now, seen_at=None)


@transaction.atomic
def _claim(user: int, project: int) -> list[Notice]:
    """Return the notices that are ours to send; nobody else sends them until the lease is over."""
    now = timezone.now()
    notices = list(_due(now).filter(user=user, project=project).order_by("pk").select_for_update())
    _note(notices, mail_at=now + LEASE, mail_tries=F("mail_tries") + 1)
    return notices


def _send(notices: Sequence[Notice], connection: BaseEmailBackend) -> None:
    first, now = notices[0], timezone.now()
    members = Membership.objects.filter(user=first.user_id, project=first.project_id, role__in=NOTIFIED_ROLES)
    member = members.filter(user__is_active=True).exclude(notice_mail=NoticeMail.NEVER).exclude(user__email="").first()
    if member is None:  # who left, or wants no mail any more
        _note(notices, mail_at=None)
        return
    try:
        _message(member, notices, connection).send()
    except (OSError, ValueError) as error:  # SMTPException is an OSError; ValueError: an address that no header takes
        log.warning("%d notices were not mailed to %s: %s", len(notices), member.user, error)
        tries = max(notice.mail_tries for notice in notices) + 1
        _note(notices, mail_at=next_try(now, tries) if isinstance(error, OSError) else None)
    else:
        _note(notices, mail_at=None, mailed_at=now)


def _message(member: Membership, notices: Sequence[Notice], connection: BaseEmailBackend) -> EmailMessage:
    project, n = member.project, len(notices)
    subject = " ".join(f"{project.name}: {notices[0].text if n == 1 else f'{n} notices'}".split())  # one line
    parts = [f"{notice.text}\n{settings.SITE_URL}{notice.url}" for notice in notices[:MOST_LISTED]]
    if n > MOST_LISTED:
        parts.append(f"And {n - MOST_LISTED} more:\n{settings.SITE_URL}{reverse('notices')}")
    parts.append(
        f"--\nYou get this as a {member.role} of {project.name}. Choose when notices are mailed, or "
        f"switch these mails off:\n{settings.SITE_URL}{reverse('account')}#e-mail"
    )
    return EmailMessage(
        subject[:120],
        "\n\n".join(parts) + "\n",
        settings.EMAIL_NOTICES_FROM,
        [member.user.email],
        headers={"Auto-Submitted": "auto-generated"},  # so that nobody's absence note answers it
        connection=connection,
    )


def _note(notices: Sequence[Notice], **fields: object) -> None:
    Notice.objects.filter(pk__in=[notice.pk for notice in notices]).update(**fields)
