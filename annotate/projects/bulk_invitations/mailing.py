"""Send the mails of invitations in the background: each is claimed before it is sent, so that nobody gets two.

A background worker that dies between claiming and noting leaves a mail that may have gone out. It is never sent again
by itself: its manager is told so and may send it again.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from smtplib import SMTPRecipientsRefused

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from annotate.models import Invitation
from annotate.projects.bulk_invitations.actions import link

AT_ONCE = 10  # of one round: others of the background worker's tasks wait for it
LEASE = timedelta(minutes=10)
UNSURE = "Sending was interrupted, so the e-mail may or may not have arrived. Ask the person, or send it again."
_LONGEST = 200
_Mail = Invitation.Mail
log = logging.getLogger("assay.invitations")


def send_waiting() -> bool:
    """Send a few of the mails that wait; return whether more do. Raises OSError where the mail server is away."""
    _give_up_lost()
    waiting = _waiting()
    if not settings.EMAIL_NOTICES_FROM or not waiting.exists():
        return False
    connection = get_connection()
    try:
        connection.open()
    except OSError as error:
        waiting.update(mail_problem=f"The mail server does not answer ({error}). Assay tries again."[:_LONGEST])
        raise
    try:
        for pk in list(waiting.values_list("pk", flat=True)[:AT_ONCE]):
            if invitation := _claim(pk):
                _send(invitation, connection)
    finally:
        connection.close()
    return waiting.exists()


def _waiting() -> QuerySet[Invitation]:
    return Invitation.objects.open().filter(mail=_Mail.WAITING).order_by("id")


def _claim(pk: int) -> Invitation | None:
    """Return the invitation if it is ours to send: in one conditional statement, committed before anything is sent."""
    with transaction.atomic():
        if not _waiting().filter(pk=pk).order_by().update(mail=_Mail.SENDING, mailed_at=timezone.now()):
            return None
        return Invitation.objects.select_related("project", "invited_by").get(pk=pk)


def _send(invitation: Invitation, connection: BaseEmailBackend) -> None:
    project, by = invitation.project, invitation.invited_by
    words = (
        f"{by.username + ' invites you' if by else 'You are invited'} to {project.name} as {invitation.role}:\n\n"
        f"{link(invitation)}\n\nThe link works once, until {invitation.expires_at:%-d %B %Y}.\n"
    )
    subject = " ".join(f"Invitation to {project.name}".split())[:120]  # a header is one line
    message = EmailMessage(subject, words, settings.EMAIL_NOTICES_FROM, [invitation.email], connection=connection)
    try:
        message.send()
    except (OSError, ValueError) as error:  # SMTPException is an OSError; ValueError: an address that no header takes
        log.warning("invitation %d was not sent: %s", invitation.pk, error)
        _note(invitation, _Mail.FAILED, f"The mail server refused it: {_words(error)}")
    else:
        _note(invitation, _Mail.SENT, "")


def _words(error: Exception) -> str:
    """Return what the server said of the address, where it said so."""
    if isinstance(error, SMTPRecipientsRefused) and error.recipients:
        code, words = next(iter(error.recipients.values()))
        return f"{code} {words.decode(errors='replace')}"
    return str(error)


def _note(invitation: Invitation, mail: str, problem: str) -> None:
    Invitation.objects.filter(pk=invitation.pk, mail=_Mail.SENDING).update(
        mail=mail, mail_problem=problem[:_LONGEST], mailed_at=timezone.now()
    )


def _give_up_lost() -> None:
    lost = Invitation.objects.filter(mail=_Mail.SENDING, mailed_at__lt=timezone.now() - LEASE)
    if lost.exists():  # an update that changes nothing would wait for SQLite's one writer all the same
        lost.update(mail=_Mail.FAILED, mail_problem=UNSURE)
