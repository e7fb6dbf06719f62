"""Repeat a comparison of an annotator's own, with the sides swapped.

They measure consistency and the pull of a side, and take no place of the item. A repeat must not be remembered: some
other items lie between, and some minutes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta

from django.db.models import Exists, OuterRef
from django.utils import timezone

from annotate.labelling.queue.assigned_items import COMPARE
from annotate.models import Assignment, Comparison, Project, Status, User
from annotate.projects import member_languages
from annotate.projects.wellbeing import actions as harm_budget

ITEMS_BETWEEN = 10
MINUTES_BETWEEN = 5
_DRAWN_FROM = 50
_lot = random.SystemRandom()


def draw(project: Project, user: User, languages: Sequence[str] = ()) -> Assignment | None:
    """Return an earlier comparison to repeat, by lot among those that have waited longest, in one of these languages or
    in none. Without `languages` all are theirs."""
    own_assignments = project.assignments.filter(user=user, kind=COMPARE)
    lately = list(own_assignments.order_by("-id").values_list("pk", flat=True)[:ITEMS_BETWEEN])
    if len(lately) < ITEMS_BETWEEN:
        return None
    is_counted = Comparison.objects.filter(assignment=OuterRef("pk"), status=Status.COUNTED)
    earlier = own_assignments.filter(
        Exists(is_counted),
        pk__lt=lately[-1],
        purpose=Assignment.Purpose.WORK,
        state=Assignment.State.SUBMITTED,
        closed_at__lte=timezone.now() - timedelta(minutes=MINUTES_BETWEEN),
        prompt__out_since=None,
        repetitions=None,
    )
    bearable = harm_budget.within(member_languages.within(earlier, languages), project, user)
    rows = bearable.select_related("prompt", "completion_a", "completion_b").order_by("id")
    candidates = list(rows.values_list("pk", flat=True)[:_DRAWN_FROM])
    return rows.get(pk=_lot.choice(candidates)) if candidates else None
