"""Hand out the tutorial: gold items in their order, each explained after it has been answered."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.labelling import assigning as assignments
from annotate.labelling import assignment_lifecycle
from annotate.labelling.gold import scoring as gold
from annotate.labelling.prerequisites import actions as prerequisites
from annotate.models import Assignment, GoldItem, Membership, Project, User
from annotate.projects.wellbeing import actions as harm_budget

_TUTORIAL = Assignment.Purpose.TUTORIAL


@dataclass(frozen=True)
class Lesson:
    """Hold what an answered tutorial item teaches. `expected` is by the sides as they were shown."""

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
        project.lock(person=user)
        own_lessons = (
            _own_tutorial(project, user)
            .exclude(state=Assignment.State.SUBMITTED)
            .exclude(state=Assignment.State.TAKEN_OUT)
        )
        if lesson := own_lessons.select_related("project", "user", "prompt", "completion_a", "completion_b").first():
            return _for_longer(lesson)
        for gold_item in _unanswered(project, user):
            return assignments.hand_out_gold(project, user, gold_item, _TUTORIAL)
        Membership.objects.filter(pk=member.pk).update(tutorial_passed_at=timezone.now())
        return None


def lesson_of(assignment: Assignment, by: User) -> Lesson:
    """Return the lesson. Refused for an item outside the tutorial, and before its answer: nothing else tells what is
    right."""
    assignment_lifecycle.require_owner(assignment, by)
    gold_item = assignment.gold
    if assignment.purpose != _TUTORIAL or gold_item is None:
        raise Refused(404, assignment="This is not a tutorial item; only tutorial items have an explanation.")
    if assignment.gold_passed is None:
        raise Refused(409, assignment="Annotate the item first; then you can read its explanation.")
    ids = list(_all(assignment.project).values_list("pk", flat=True))
    number = ids.index(gold_item.pk) + 1 if gold_item.pk in ids else len(ids)
    expected = gold.expected_of(gold_item, assignment)
    return Lesson(assignment, assignment.gold_passed, expected, gold_item.explanation, number, len(ids))


def progress(project: Project, user: User) -> tuple[int, int]:
    """Return (answered, all)."""
    total = _all(project).count()
    return total - len(_unanswered(project, user)), total


def answered(project: Project, user: User) -> int:
    """Return how many items the person answered as a tutorial: those that they had annotated before are none."""
    return _own_tutorial(project, user).filter(gold_passed__isnull=False).count()


def score(project: Project, user: User) -> int:
    return _own_tutorial(project, user).filter(gold_passed=True).count()


def _all(project: Project) -> QuerySet[GoldItem]:
    return project.gold_items.filter(is_tutorial=True, retired_at=None, prompt__out_since=None)


def _own_tutorial(project: Project, user: User) -> QuerySet[Assignment]:
    return project.assignments.filter(user=user, purpose=_TUTORIAL)


def _unanswered(project: Project, user: User) -> list[GoldItem]:
    """Return the tutorial's items without those that they were served as an item before."""
    served = set(project.assignments.filter(user=user).values_list("item", flat=True))
    return [
        gold_item
        for gold_item in harm_budget.within(_all(project), project, user)
        if gold.key_of(gold_item.kind, gold_item.completion_a_id, gold_item.completion_b_id) not in served
    ]


def _for_longer(assignment: Assignment) -> Assignment:
    """Reopen a lesson if needed: it does not expire, and is not skipped, for nobody else answers it."""
    if assignment.state != Assignment.State.OPEN or assignment.expires_at <= timezone.now():
        assignment_lifecycle.reopen(assignment)
    return assignment
