"""Hand out the next items ahead, so that the annotator's page has them before it needs them.

An item that waits in a browser is lent for some minutes, and belongs to nobody who has not been shown it: it goes back
when the page is closed, when the minutes are over, or when somebody else asks and nothing else is left. Its person
has not seen it then, and gets it first when they ask again, while its place is free. Once it is shown it is like one
that is handed out at that moment.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from annotate.core.db.connections import within_transaction
from annotate.core.errors import Refused
from annotate.labelling import assigning
from annotate.labelling.assignment_lifecycle import expire_stale, hand_over, put_back, reopen
from annotate.labelling.prerequisites import actions as prerequisites
from annotate.labelling.queue.locked_look import Look, lock_and_look
from annotate.models import Assignment, Project, User

MOST_AHEAD = 3
LENT_FOR = timedelta(minutes=5)


def hand_ahead(*, project: Project, user: User, kind: str | None = None) -> list[Assignment]:
    """Return what is in the user's hands, what they were shown first, with up to `MOST_AHEAD` items that they were not.

    Raises Refused as `assigning.next_for` does. What is about harm is never handed out ahead: to be handed out is to be
    exposed, and counts towards caps and breaks.
    """
    member = prerequisites.member_of(project, user)
    kinds = assigning.kinds_to_try(project, kind)
    with within_transaction():
        look = lock_and_look(project, user)
        prerequisites.check(project, member)
        in_hands = assigning.held_by(project, user, kinds)
        held = [*in_hands.filter(is_ahead=False), *in_hands.filter(is_ahead=True).free()]
        until = timezone.now() + LENT_FOR
        Assignment.objects.filter(pk__in=[each.pk for each in held if each.is_ahead]).update(expires_at=until)
        while sum(each.is_ahead for each in held) < MOST_AHEAD:
            assignment = _draw_ahead(project, user, kinds, look)
            if assignment is None:
                break
            Assignment.objects.filter(pk=assignment.pk).update(is_ahead=True, expires_at=until)
            assignment.is_ahead = True
            held.append(assignment)
            look = lock_and_look(project, user)
        return held


def take_up(
    *, project: Project, user: User, pk: int, kind: str | None = None, shown_for: timedelta = timedelta()
) -> Assignment | None:
    """Return the item that the user's page has shown for a while, in their hands since then; None when it may no longer
    be worked on. Raises Refused where something comes before it, as `assigning.next_for` does."""
    member = prerequisites.member_of(project, user)
    kinds = assigning.kinds_to_try(project, kind)
    with within_transaction():
        if lock_and_look(project, user).has_stale:
            expire_stale(project)
        rows = project.assignments.filter(user=user, kind__in=kinds)
        related = rows.select_related("project", "user", "prompt", "completion_a", "completion_b")
        assignment = related.filter(pk=pk).free().first()  # without what is being sent already
        if assignment is None or not assignment.is_ahead:
            return assignment if assignment and assignment.state == Assignment.State.OPEN else None
        prerequisites.check(project, member)
        if assignment.state == Assignment.State.EXPIRED:
            try:
                reopen(assignment)
            except Refused:
                return None
        if assignment.state != Assignment.State.OPEN:
            return None
        hand_over(assignment, shown_for)
        return assignment


def give_back(*, project: Project, user: User, pks: Iterable[int]) -> int:
    """Give back those of the items that the user was not shown; return how many."""
    with transaction.atomic():
        project.lock()
        return put_back(project, project.assignments.filter(user=user, pk__in=pks))


def _draw_ahead(project: Project, user: User, kinds: list[str], look: Look) -> Assignment | None:
    with transaction.atomic():
        assignment = assigning.draw(project, user, kinds, look)
        if assignment is not None and assignment.prompt.harm:
            transaction.set_rollback(True)
            return None
        return assignment
