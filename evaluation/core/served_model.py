"""Return which model a project serves by default, and what it served before."""

from __future__ import annotations

from annotate.models import LanguageModel, Project
from evaluation.models import Promotion


def promoted(project: Project) -> Promotion | None:
    """Return the promotion in force."""
    return project.promotions.select_related("model", "promoted_by").first()


def serves(project: Project) -> LanguageModel | None:
    """Return the model of the promotion in force, unless it has been retired since."""
    in_force = promoted(project)
    return in_force.model if in_force is not None and in_force.model.retired_at is None else None


def served_before(project: Project) -> Promotion | None:
    """Return what a roll-back would serve again: each promotion lies upon the last, and each roll-back takes one
    off."""
    lying: list[Promotion] = []
    for each in project.promotions.select_related("model", "candidacy").order_by("id"):
        if each.rolls_back_id is None:
            lying.append(each)
        elif lying:
            lying.pop()
    return lying[-2] if len(lying) > 1 else None
