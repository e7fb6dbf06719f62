"""Choose when the notices of a project are mailed to oneself."""

from __future__ import annotations

from django.db.models import QuerySet

from annotate.core.errors import Refused
from annotate.core.permissions import ROLES_FOR
from annotate.models import Membership, NoticeMail, Project, User


def notified_memberships(user: User) -> QuerySet[Membership]:
    """Return where this person gets notices: as a manager or a researcher."""
    rows = user.memberships.filter(role__in=ROLES_FOR["research"])
    return rows.select_related("project").order_by("project__name")


def choose_mail(*, user: User, project: Project, when: str) -> Membership:
    """Write down when notices of the project are mailed to this person. Raises Refused."""
    if when not in NoticeMail.values:
        raise Refused(when=f"{when!r} is unknown; use one of {', '.join(NoticeMail.values)}.")
    membership = notified_membership(user, project)
    membership.notice_mail = when
    membership.save(update_fields=["notice_mail"])
    return membership


def notified_membership(user: User, project: Project) -> Membership:
    """Return the membership by which this person gets notices. Refused where there is none."""
    membership = notified_memberships(user).filter(project=project).first()
    if membership is None:
        raise Refused(409, project="You are not a manager or researcher of this project, so you get no mail about it.")
    return membership
