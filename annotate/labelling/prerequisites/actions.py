"""Check the prerequisites of the next item: guidelines to be read, a tutorial, a warning, a pause. One query for all.

What is in a person's hands already may always be finished: it was handed out under the rules of its day.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from django.db.models import Exists, OuterRef, QuerySet, Subquery

from annotate.core.db.prepared import Asked, Prepared, Slot, ask
from annotate.core.errors import Refused
from annotate.core.permissions import require, require_second_factor
from annotate.models import GoldItem, Guideline, Membership, Project, User

GUIDELINES, TUTORIAL, WARNING, PAUSED = "guidelines", "tutorial", "warning", "paused"


class NotYet(Refused):
    """Raised when something comes before the next item; `prerequisite` says what, and is also the field of the
    refusal."""

    def __init__(self, prerequisite: str, text: str) -> None:
        super().__init__(403 if prerequisite == PAUSED else 409, **{prerequisite: text})
        self.prerequisite = prerequisite


def _member() -> QuerySet[Membership]:
    newest = Guideline.objects.filter(project=OuterRef("project")).order_by("-version").values("version")[:1]
    lessons = GoldItem.objects.filter(project=OuterRef("project"), is_tutorial=True, retired_at=None)
    memberships = Membership.objects.filter(project=Slot("project"), user=Slot("user"))
    return memberships.annotate(newest_guideline=Subquery(newest), has_tutorial=Exists(lessons))


_members = Prepared(_member)


def member_of(project: Project, user: User) -> Membership | None:
    """Return the membership with what the prerequisites need; None for a superuser who is no member. Refused to those
    who may not annotate here."""
    return admitted(ask(member_question(project, user))[0], project, user)


def member_question(project: Project, user: User) -> Asked:
    return _members.asked(project=project.pk, user=user.pk)


def admitted(answer: list[Membership], project: Project, user: User) -> Membership | None:
    """Return what `member_of` does, from the answer to that question."""
    require_second_factor(user, project)
    if not answer:
        require(user, "judge", project)
        return None
    return answer[0]


def check(project: Project, member: Membership | None) -> None:
    """Raise NotYet for the first thing that comes before the next item."""
    check_pause(project, member)
    if member is None:
        return
    if member.notice:
        raise NotYet(WARNING, "There is a message about your work; read it before you continue.")
    newest = getattr(member, "newest_guideline", None)
    if project.must_read_guidelines and newest and (member.guideline_read or 0) < newest:
        raise NotYet(GUIDELINES, f"Version {newest} of the guidelines is new; read it before you continue.")
    if getattr(member, "has_tutorial", False) and member.tutorial_passed_at is None:
        raise NotYet(TUTORIAL, "A short tutorial comes before the first item.")


def check_pause(project: Project, member: Membership | None) -> None:
    if member is not None and member.paused_at:
        raise NotYet(
            PAUSED, f"You are paused in {project}: {member.paused_reason} A manager of the project can end the pause."
        )


def guidelines_read(*, project: Project, user: User, version: int | None = None) -> Guideline | None:
    """Record that they have read this version, the newest where none is named; return it. Refused when another is in
    force."""
    member = _membership(project, user)
    guideline = project.guideline
    if guideline is None:
        return None
    if version not in (None, guideline.version):
        raise Refused(409, guidelines=f"Version {guideline.version} is newer; read that version.")
    if (member.guideline_read or 0) < guideline.version:
        member.guideline_read = guideline.version
        member.save(update_fields=["guideline_read"])
    return guideline


def notice_read(*, project: Project, user: User) -> None:
    """Record that they have read the message before their next item. The audit trail keeps what it said."""
    Membership.objects.filter(pk=_membership(project, user).pk).update(notice="")


@dataclass(frozen=True)
class Line:
    """A line of a diff: `sign` is "+" for a new line, "-" for one that is gone, "" for one that stayed."""

    sign: str
    text: str


def diff_lines(old_text: str, new_text: str) -> list[Line]:
    """Return the changed lines, with two lines around each change; empty when nothing changed."""
    lines: list[Line] = []
    for line in difflib.unified_diff(old_text.splitlines(), new_text.splitlines(), lineterm="", n=2):
        if line.startswith(("---", "+++")) and not lines:
            continue
        lines.append(Line("…", "") if line.startswith("@@") else Line(line[:1].strip(), line[1:]))
    return lines


def _membership(project: Project, user: User) -> Membership:
    require(user, "judge", project)
    member = Membership.objects.filter(project=project, user=user).first()
    if member is None:
        raise Refused(403, project=f"You are not a member of {project}.")
    return member
