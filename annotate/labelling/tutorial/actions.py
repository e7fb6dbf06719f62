"""The tutorial: items with known answers, in their order, each explained after it has been answered."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.labelling import assigning as assignments
from annotate.labelling.gold import scoring as gold
from annotate.labelling.prerequisites import actions as prerequisites
from annotate.models import Assignment, GoldItem, Membership, Project, User
from annotate.projects.wellbeing import actions as harm_budget

_TUTORIAL = Assignment.Purpose.TUTORIAL


@dataclass(frozen=True)
class Lesson:
    """What an answered tutorial item teaches. `expected` is by the sides as they were shown."""

    assignment: Assignment
    is_right: bool
    expected: dict[str, list]
    explanation: str
    number: int
    total: int


def next_lesson(*, project: Project, user: User) -> Assignment | None:
    """Return the tutorial item to answer now; None when all are answered, which is a pass."""
    member = prerequisites.member_of(project, user)
    if member is None or member.tutorial_passed_at:
        return None
    prerequisites.check_pause(project, member)
    with transaction.atomic():
        project.lock()
        mine = _mine(project, user).exclude(state=Assignment.State.SUBMITTED).exclude(state=Assignment.State.TAKEN_OUT)
        if begun := mine.select_related("project", "user", "prompt", "completion_a", "completion_b").first():
            return _for_longer(begun)
        for known in _unanswered(project, user):
            return assignments.hand_out_gold(project, user, known, _TUTORIAL)
        Membership.objects.filter(pk=member.pk).update(tutorial_passed_at=timezone.now())
        return None


def lesson_of(assignment: Assignment, by: User) -> Lesson:
    """Refused for what is no tutorial item, or is not answered yet: nothing else tells what is right."""
    assignments.require_owner(assignment, by)
    known = assignment.gold
    if assignment.purpose != _TUTORIAL or known is None:
        raise Refused(404, assignment="This is no tutorial item; only those are explained.")
    if assignment.gold_passed is None:
        raise Refused(409, assignment="Answer it first; then it is explained.")
    ids = list(_all(assignment.project).values_list("pk", flat=True))
    number = ids.index(known.pk) + 1 if known.pk in ids else len(ids)
    expected = gold.expected_of(known, assignment)
    return Lesson(assignment, assignment.gold_passed, expected, known.explanation, number, len(ids))


def progress(project: Project, user: User) -> tuple[int, int]:
    """Return (answered, all)."""
    total = _all(project).count()
    return total - len(_unanswered(project, user)), total


def score(project: Project, user: User) -> int:
    return _mine(project, user).filter(gold_passed=True).count()


def _all(project: Project) -> QuerySet[GoldItem]:
    return project.gold_items.filter(is_tutorial=True, retired_at=None, prompt__out_since=None)


def _mine(project: Project, user: User) -> QuerySet[Assignment]:
    return project.assignments.filter(user=user, purpose=_TUTORIAL)


def _unanswered(project: Project, user: User) -> list[GoldItem]:
    """Without those that they were served as an item before: these they know."""
    served = set(project.assignments.filter(user=user).values_list("item", flat=True))
    return [
        known
        for known in harm_budget.within(_all(project), project, user)
        if gold.key_of(known.kind, known.completion_a_id, known.completion_b_id) not in served
    ]


def _for_longer(begun: Assignment) -> Assignment:
    """A lesson does not run out, and is not skipped: nobody else answers it."""
    if begun.state != Assignment.State.OPEN or begun.expires_at <= timezone.now():
        assignments.reopen(begun)
    return begun
