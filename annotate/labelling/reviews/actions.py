"""Give a share of the work that one person annotated a second look: a reviewer annotates it blind.

Which items are drawn follows from a hash of the item and a seed of the project: the same items each time, and nobody
without the database can say which. A higher share keeps those of a lower one. The reviewer's annotation counts like
any other, but takes no annotator's place; where the two part ways the item is among the disagreements.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import Count, Exists, Min, OuterRef, Q, QuerySet, Value
from django.db.models.functions import MD5, Concat, Substr

from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.labelling import assigning as assignments
from annotate.labelling.adjudication.actions import judged_by
from annotate.labelling.assignment_lifecycle import expire_stale, reopen
from annotate.labelling.prerequisites import actions as prerequisites
from annotate.labelling.queue.assigned_items import COMPARE, RANK, RATE, Item
from annotate.models import Assignment, Project, User
from annotate.projects import member_languages
from annotate.projects.wellbeing import actions as harm_budget

_DIGITS = 8  # of the hash, in hexadecimal: enough to tell shares of 1 % apart by far
_CANDIDATES = 20
_Purpose, _State = Assignment.Purpose, Assignment.State
_LOOKED_AT_BY_ONE = Q(is_review=True, state__in=[_State.OPEN, _State.SUBMITTED])


def due(project: Project, by: User | None = None) -> QuerySet[Assignment, dict]:
    """Return {item, first, prompt} of the drawn items that exactly one person annotated, the oldest annotation first.

    Not those that a reviewer looked at, or has in hand; with `by`, only what that reviewer may be shown, and was not
    shown before, but for what ran out.
    """
    looked_at = project.assignments.filter(_LOOKED_AT_BY_ONE, item=OuterRef("item"))
    work = _work(project).filter(~Exists(looked_at), prompt__out_since=None)
    if by is not None:
        work = member_languages.within(work, member_languages.languages_of(project, by))
        work = harm_budget.within(work, project, by)
        own = Assignment.objects.filter(user=by, item=OuterRef("item")).exclude(purpose=_Purpose.REPEAT)
        work = work.filter(~Exists(own.exclude(is_review=True, state=_State.EXPIRED)))
    once = work.order_by().values("item").annotate(first=Min("pk"), prompt=Min("prompt_id"), people=Count("pk"))
    return _drawn(once.filter(people=1), project).order_by("first")


def take_next(*, project: Project, by: User) -> Assignment | None:
    """Return the next item to look at as an assignment of the reviewer, the one in their hands first; None where
    nothing is due."""
    require(by, "review", project)
    if not project.review_percent:
        raise Refused(
            409, project="This project draws no items for review; a manager can set the share in the settings."
        )
    prerequisites.check(project, prerequisites.member_of(project, by))
    with transaction.atomic():
        project.lock()
        expire_stale(project)
        if held := project.assignments.live().filter(user=by, is_review=True).order_by("id").first():
            return held
    candidates = list(due(project, by)[:_CANDIDATES])  # before the lock: it reads all that was annotated
    with transaction.atomic():
        project.lock()
        for row in candidates:
            if _is_free(project, row["item"]):
                return _hand_out(project, by, row["item"], row["prompt"])
    return None


def reviewed(project: Project) -> QuerySet[Assignment]:
    """Return the annotations that reviewers made of what was drawn, and which stand."""
    return project.assignments.filter(is_review=True, state=_State.SUBMITTED).order_by()


def _work(project: Project) -> QuerySet[Assignment]:
    """Return what people annotated; written answers have nothing that a second one could agree with."""
    return project.assignments.filter(
        purpose=_Purpose.WORK, state=_State.SUBMITTED, kind__in=[RATE, COMPARE, RANK], user__is_simulated=False
    )


def _drawn(rows: QuerySet, project: Project) -> QuerySet:
    if project.review_percent >= 100:
        return rows
    below = f"{project.review_percent * 16**_DIGITS // 100:0{_DIGITS}x}"
    # MD5, for Postgres has SHA-256 of texts by an extension alone; who lacks the seed foretells neither.
    draw = Substr(MD5(Concat(Value(project.review_seed), "item")), 1, _DIGITS)
    return rows.annotate(draw=draw).filter(draw__lt=below)


def _is_free(project: Project, key: str) -> bool:
    """Return whether nobody has given it a second look meanwhile, or is about to. Hold the project's lock."""
    looked_at = project.assignments.filter(_LOOKED_AT_BY_ONE, item=key)
    return judged_by(project, key).count() == 1 and not looked_at.exists()


def _hand_out(project: Project, by: User, key: str, prompt: int) -> Assignment:
    if run_out := project.assignments.filter(user=by, item=key, is_review=True).first():
        reopen(run_out)
        return run_out
    item = Item.of_key(prompt, key)
    return assignments.hand_out(project, by, item.kind, item, is_review=True)
