"""Invite a list of people, send a batch again, take it back. Mails are queued here and sent by `mailing`."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Lower
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import salted_hmac

from annotate.core import audit
from annotate.core.errors import Refused, TooMany
from annotate.core.permissions import require
from annotate.models import Invitation, Project, User
from annotate.models.tokens import token_hash
from annotate.projects.bulk_invitations import address_lists as lists
from annotate.projects.invitations import DAYS

MAILS_A_DAY = 1_000  # of one person, in all projects
PAUSE = timedelta(hours=1)  # before an invitation is sent again
_DAY = timedelta(days=1)
_Mail = Invitation.Mail


@dataclass(frozen=True)
class Preview:
    """A list that was read: whom it would invite, and which lines are wrong."""

    right: list[lists.Line]
    wrong: list[lists.Line]

    @property
    def roles(self) -> dict[str, int]:
        return dict(Counter(line.role for line in self.right))


def preview(*, project: Project, by: User, text: str, defaults: lists.Defaults) -> Preview:
    """Return what the list would do; nothing is stored and nothing is sent."""
    require(by, "manage", project)
    return _sorted(lists.read(text, defaults, **_known(project)))


def preview_lines(*, project: Project, by: User, lines: list[lists.Line]) -> Preview:
    """Do as `preview` for lines that a program sent."""
    require(by, "manage", project)
    return _sorted(lists.check(lines, **_known(project)))


def send(*, project: Project, by: User, right: Collection[lists.Line]) -> list[Invitation]:
    """Make an invitation for each line, and queue its mail where this installation sends any.

    The lines were checked; those that somebody else has invited meanwhile are refused, and nothing is made.
    """
    require(by, "manage", project)
    now = timezone.now()
    with transaction.atomic():
        project.lock()
        again = _sorted(lists.check(list(right), **_known(project)))
        if again.wrong:
            raise Refused(409, people=describe(again.wrong))
        if not right:
            raise Refused(people="Every line of the list has errors, so nobody was invited; correct the lines.")
        _refuse_too_many(by, len(right), now)
        made = Invitation.objects.bulk_create(_invitation(project, line, by, now) for line in right)
        batches = ", ".join(sorted({line.batch for line in right if line.batch})) or "no batch"
        audit.record(
            action="invitations.made",
            about=f"{len(made)} people, {batches}",
            by=by,
            project=project,
            changes={"roles": [None, dict(Counter(line.role for line in right))]},
        )
    return made


def send_again(*, project: Project, by: User, batch: str) -> tuple[int, int]:
    """Queue the mails of a batch again, with a new term; return how many, and how many were sent too lately for that.

    Only what was neither accepted nor taken back. The links stay the same.
    """
    require(by, "manage", project)
    if not settings.EMAIL_NOTICES_FROM:
        raise Refused(409, batch="This installation sends no e-mail; download the links and send them yourself.")
    now = timezone.now()
    with transaction.atomic():
        project.lock()
        unanswered = project.invitations.unanswered().filter(batch=batch)
        comes = Q(mail=_Mail.SENDING) | Q(mail=_Mail.WAITING, expires_at__gt=now)  # what has run out is not sent
        lately = Q(queued_at__gt=now - PAUSE) & ~Q(mail=_Mail.FAILED) | comes
        due = list(unanswered.exclude(lately).exclude(salt="").values_list("pk", flat=True))
        n_recent = unanswered.filter(lately).count()
        if not due:
            raise Refused(409, batch=_nothing_to_send(n_recent))
        _refuse_too_many(by, len(due), now)
        Invitation.objects.filter(pk__in=due).update(
            mail=_Mail.WAITING, mail_problem="", queued_at=now, invited_by=by, expires_at=now + timedelta(days=DAYS)
        )
        audit.record(action="invitations.sent again", about=f"{len(due)} of {_named(batch)}", by=by, project=project)
    return len(due), n_recent


def withdraw(*, project: Project, by: User, batch: str) -> int:
    """Take back the invitations of a batch that nobody has accepted; return how many. Mails that wait are not sent."""
    require(by, "manage", project)
    with transaction.atomic():
        project.lock()
        n = project.invitations.unanswered().filter(batch=batch).update(revoked_at=timezone.now())
        if not n:
            raise Refused(409, batch="There are no open invitations: all are accepted or withdrawn.")
        audit.record(action="invitations.revoked", about=f"{n} of {_named(batch)}", by=by, project=project)
    return n


def links(*, project: Project, by: User, batch: str) -> list[tuple[Invitation, str]]:
    """Return the open invitations of a batch with their links, to be handed over. Written into the audit trail."""
    require(by, "manage", project)
    with transaction.atomic():
        open_ones = project.invitations.open().filter(batch=batch).exclude(salt="").order_by("id")
        told = [(invitation, link(invitation)) for invitation in open_ones]
        audit.record(action="invitations.links", about=f"{len(told)} of {_named(batch)}", by=by, project=project)
    return told


def link(invitation: Invitation) -> str:
    """Return its link. After a change of the installation's secret it is a new one, and the earlier one ends."""
    token = token_of(invitation.salt)
    if token_hash(token) != invitation.token_hash:
        invitation.token_hash = token_hash(token)
        invitation.save(update_fields=["token_hash"])
    return settings.SITE_URL + reverse("invitation", args=[token])


def token_of(salt: str) -> str:
    return salted_hmac("annotate.invitation", salt, algorithm="sha256").hexdigest()


def describe(wrong: list[lists.Line]) -> str:
    """Return in one text what is wrong: the first lines by number, field and remedy."""
    texts = [f"Line {line.number}, {problem.field}: {problem.text}" for line in wrong for problem in line.problems]
    more = f" And {len(texts) - 5} more." if len(texts) > 5 else ""
    return " ".join(texts[:5]) + more


def _sorted(lines: list[lists.Line]) -> Preview:
    return Preview([line for line in lines if not line.problems], [line for line in lines if line.problems])


def _known(project: Project) -> dict[str, set[str]]:
    """Return the addresses, in lower case, of members and of those with a good invitation."""
    members = User.objects.filter(memberships__project=project).exclude(email="")
    invited = project.invitations.open().exclude(email="")
    return {
        "members": set(members.annotate(key=Lower("email")).values_list("key", flat=True)),
        "invited": set(invited.annotate(key=Lower("email")).order_by().values_list("key", flat=True)),
    }


def _invitation(project: Project, line: lists.Line, by: User, now: datetime) -> Invitation:
    salt = secrets.token_hex(16)
    return Invitation(
        project=project,
        token_hash=token_hash(token_of(salt)),
        salt=salt,
        role=line.role,
        email=line.email,
        language=line.language,
        batch=line.batch,
        invited_by=by,
        expires_at=now + timedelta(days=DAYS),
        mail=_Mail.WAITING if settings.EMAIL_NOTICES_FROM else _Mail.NONE,
        queued_at=now,
    )


def _refuse_too_many(by: User, n: int, now: datetime) -> None:
    """Refuse more mails than one person sends in a day. Within the transaction that queues them: two requests, in two
    projects, count one after the other."""
    by.lock()
    lately = Invitation.objects.filter(invited_by=by, queued_at__gt=now - _DAY)
    asked = lately.count()
    if asked + n > MAILS_A_DAY:
        first = lately.order_by("queued_at").values_list("queued_at", flat=True).first() or now
        wait = int((first + _DAY - now).total_seconds()) if asked else int(_DAY.total_seconds())
        raise TooMany(
            wait,
            people=f"You can invite {MAILS_A_DAY:,} people a day, and this would be {asked:,}; wait, or invite fewer.",
        )


def _nothing_to_send(n_recent: int) -> str:
    if n_recent:
        return f"All {n_recent} open invitations were sent within the last hour or are being sent; wait an hour."
    return "There are no open invitations: all are accepted or withdrawn."


def _named(batch: str) -> str:
    return f"batch {batch}" if batch else "no batch"
