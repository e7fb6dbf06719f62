"""Describe packages of work: what each person was given, has done and has left."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count, F, Q

from annotate.labelling.assigning import kinds_asked
from annotate.labelling.queue import reserved
from annotate.models import Project, ReservedPrompt, User, WorkPackage

_State = ReservedPrompt.State


@dataclass(frozen=True)
class Share:
    """What one person has of a package, in prompts."""

    username: str
    given: int
    done: int
    left: int
    released: int


@dataclass(frozen=True)
class Package:
    package: WorkPackage
    people: int
    given: int
    done: int
    left: int


def packages_of(project: Project) -> list[Package]:
    """Return the packages of a project, the newest first, counted in one query."""
    rows = WorkPackage.objects.filter(project=project).annotate(
        n_people=Count("reserved__user", distinct=True),
        n_given=Count("reserved"),
        n_done=Count("reserved", filter=Q(reserved__state=_State.DONE)),
        n_left=Count("reserved", filter=_left("reserved__")),
    )
    return [Package(row, row.n_people, row.n_given, row.n_done, row.n_left) for row in rows]


def shares_of(package: WorkPackage) -> list[Share]:
    """Return what each person has, by name. Notes first what they have done since they last asked for an item."""
    users = User.objects.filter(reserved_prompts__in=package.reserved.open()).distinct()
    reserved.settle(package.project, users, kinds_asked(package.project))
    rows = (
        package.reserved.order_by()
        .values(username=F("user__username"))
        .annotate(
            given=Count("pk"),
            done=Count("pk", filter=Q(state=_State.DONE)),
            left=Count("pk", filter=_left()),
            released=Count("pk", filter=Q(state=_State.RELEASED)),
        )
    )
    shares = [Share(**row) for row in rows]
    return sorted(shares, key=lambda share: share.username)


def _left(prefix: str = "") -> Q:
    """Return a filter of what is still to be done; a prompt that was taken out of the work is not."""
    return Q(**{f"{prefix}state": _State.OPEN, f"{prefix}prompt__out_since": None})
