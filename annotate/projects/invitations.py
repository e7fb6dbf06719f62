"""Let people into a project: by an invitation, once and for a while, or by themselves where it is open."""

from __future__ import annotations

import secrets
from datetime import timedelta

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils import timezone

from annotate.core import audit, events
from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.models import Invitation, Membership, Project, Role, User
from annotate.models.tokens import token_hash
from annotate.projects import member_languages

DAYS = 14
_GONE = "This invitation was used already, has expired, or was withdrawn; ask for a new one."


def invite(*, project: Project, role: str, by: User, email: str = "", language: str = "") -> tuple[Invitation, str]:
    """Return the invitation and its token, which is told this once and not kept."""
    require(by, "manage", project)
    if role not in Role.values:
        raise Refused(role=f"{role!r} is unknown; use one of {', '.join(Role.values)}.")
    email = email.strip()
    if email:
        try:
            validate_email(email)
        except ValidationError as error:
            raise Refused(email=f"{email!r} is not an e-mail address; correct it, or leave it empty.") from error
    language = member_languages.checked(language)
    token = secrets.token_urlsafe(32)
    with transaction.atomic():
        invitation = Invitation.objects.create(
            project=project,
            token_hash=token_hash(token),
            role=role,
            email=email,
            language=language,
            invited_by=by,
            expires_at=timezone.now() + timedelta(days=DAYS),
        )
        about = f"{email or 'anybody with the link'} as {role}"
        audit.record(action="invitation.made", about=about, by=by, project=project)
    return invitation, token


def standing(token: str) -> Invitation | None:
    """Return the invitation of that token, while it can be accepted."""
    if not token:
        return None
    rows = Invitation.objects.open().select_related("project", "invited_by")
    return rows.filter(token_hash=token_hash(token)).first()


def open_for(email: str) -> list[Invitation]:
    """Return the invitations to that address that can be accepted; whoever asks has seen to it that it is theirs."""
    if not email:
        return []
    rows = Invitation.objects.open().select_related("project", "invited_by")
    return list(rows.filter(email__iexact=email).order_by("pk"))


def accept(*, token: str, by: User) -> Membership:
    """Become a member. Somebody who is one already keeps a higher role, and the invitation is used up all the same."""
    invitation = standing(token)
    if invitation is None:
        raise Refused(410, invitation=_GONE)
    return accept_one(invitation, by=by)


def accept_one(invitation: Invitation, *, by: User) -> Membership:
    """Accept an invitation that is known to be this person's."""
    with transaction.atomic():
        used = Invitation.objects.open().filter(pk=invitation.pk)  # nor taken back since it was looked for
        if not used.update(accepted_by=by, accepted_at=timezone.now()):
            raise Refused(410, invitation=_GONE)
        membership = _admit(
            invitation.project, by, invitation.role, description="by invitation", let_in_by=invitation.invited_by
        )
        _bring_along(membership, invitation)
        return membership


def note_opened(invitation: Invitation) -> None:
    """Record that the link was opened for the first time; a mail server that looks at links counts, too."""
    Invitation.objects.filter(pk=invitation.pk, opened_at=None).update(opened_at=timezone.now())


def join(*, slug: str, by: User) -> Membership:
    """Become an annotator of an open project, by oneself."""
    project = Project.objects.filter(slug=slug, is_public=True).first()
    if project is None:
        raise Refused(404, project="There is no such public project.")
    if not project.open_sign_up:
        raise Refused(403, project=f"{project.name} needs an invitation; ask one of its managers.")
    with transaction.atomic():
        return _admit(project, by, Role.ANNOTATOR, description="by themselves", let_in_by=by)


def revoke(*, invitation: Invitation, by: User) -> None:
    require(by, "manage", invitation.project)
    with transaction.atomic():
        unanswered = Invitation.objects.unanswered().filter(pk=invitation.pk)
        if not unanswered.update(revoked_at=timezone.now()):
            raise Refused(409, invitation="The invitation is already accepted or withdrawn; remove the member instead.")
        about = f"{invitation.email or 'a link'} as {invitation.role}"
        audit.record(action="invitation.revoked", about=about, by=by, project=invitation.project)


def _bring_along(membership: Membership, invitation: Invitation) -> None:
    """Copy the languages and the batch that the invitation says; one that says nothing changes nothing."""
    brought = {name: value for name in ("language", "batch") if (value := getattr(invitation, name))}
    if brought:
        Membership.objects.filter(pk=membership.pk).update(**brought)


def _admit(project: Project, user: User, role: str, *, description: str, let_in_by: User | None) -> Membership:
    ranks = list(Role.values)  # from the one that may least
    membership, is_new = Membership.objects.get_or_create(project=project, user=user, defaults={"role": role})
    before = None if is_new else membership.role
    if not is_new and ranks.index(membership.role) < ranks.index(role):
        membership.role = role
        membership.save(update_fields=["role"])
    if before != membership.role:
        about = f"{user.username} {description}"
        changes = {"role": [before, str(membership.role)]}
        audit.record(action="member.role", about=about, by=let_in_by, project=project, changes=changes)
        data = {"user": user.username, "role": str(membership.role)}
        events.announce(project=project, event="member.changed", data=data)
    return membership
