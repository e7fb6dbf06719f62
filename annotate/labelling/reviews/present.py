"""Count what is due for review, what was reviewed, and how often the reviewer agreed."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count, Exists, OuterRef, Q

from annotate.labelling.adjudication import disagreements
from annotate.labelling.reviews import actions
from annotate.models import Assignment, Project


@dataclass(frozen=True)
class Figures:
    """Counts of items. `settled`: decided by another reviewer, sent back or withdrawn since."""

    percent: int
    due: int
    reviewed: int
    agreed: int
    disagreed: int
    settled: int


def figures_of(project: Project) -> Figures:
    """Return the counts. Two agree as long as they are not among the disagreements: stars one step apart do."""
    reviewed = actions.reviewed(project)
    keys = set(reviewed.values_list("item", flat=True))
    apart = disagreements.items_apart(project, Q(Exists(reviewed.filter(item=OuterRef("assignment__item")))))
    both = project.assignments.filter(Exists(reviewed.filter(item=OuterRef("item"))), purpose="work", state="submitted")
    pairs = set(both.order_by().values("item").annotate(n=Count("pk")).filter(n__gt=1).values_list("item", flat=True))
    decided = project.assignments.filter(item__in=pairs, purpose=Assignment.Purpose.ADJUDICATION, state="submitted")
    agreed = pairs - apart - set(decided.values_list("item", flat=True))
    return Figures(
        percent=project.review_percent,
        due=actions.due(project).count() if project.review_percent else 0,
        reviewed=len(keys),
        agreed=len(agreed),
        disagreed=len(apart),
        settled=len(keys) - len(agreed) - len(apart),
    )


def do_agree(project: Project, key: str) -> bool:
    """Return whether those who annotated the item agree."""
    return not disagreements.items_apart(project, Q(assignment__item=key))
