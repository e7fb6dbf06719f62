"""Count what is due for review, what was reviewed, and how often the reviewer agreed."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count, Q

from annotate.core.db.kept_totals import kept_totals
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
    """Return the counts; those of very many reviews are up to five minutes old (`kept_totals`)."""
    reviewed = actions.reviewed(project)
    keys, agreed, disagreed = kept_totals(f"reviews of {project.pk}", reviewed, lambda: _counts(project))
    return Figures(
        percent=project.review_percent,
        due=actions.due(project).count() if project.review_percent else 0,
        reviewed=keys,
        agreed=agreed,
        disagreed=disagreed,
        settled=keys - agreed - disagreed,
    )


def _counts(project: Project) -> tuple[int, int, int]:
    """Return of how many items there is a review, in how many both agree, and in how many they are apart.

    Two agree as long as they are not among the disagreements: stars one step apart do.
    """
    reviewed = actions.reviewed(project)
    keys = set(reviewed.values_list("item", flat=True))
    if not keys:  # else all that was annotated is looked through for nothing
        return 0, 0, 0
    of_items = project.assignments.filter(item__in=reviewed.values("item"))
    apart = disagreements.items_apart(project, Q(assignment__in=of_items.values("pk")))
    submitted = of_items.filter(state=Assignment.State.SUBMITTED).order_by()
    several = submitted.filter(purpose="work").values("item").annotate(n=Count("pk")).filter(n__gt=1)
    decided = submitted.filter(purpose=Assignment.Purpose.ADJUDICATION).values_list("item", flat=True)
    agreed = set(several.values_list("item", flat=True)) - apart - set(decided)
    return len(keys), len(agreed), len(apart)


def do_agree(project: Project, key: str) -> bool:
    """Return whether those who annotated the item agree."""
    return not disagreements.items_apart(project, Q(assignment__item=key))
