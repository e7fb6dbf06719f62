"""Return which model a project serves by default, and what it served before."""

from __future__ import annotations

from annotate.models import LanguageModel, Project
from evaluation.models import Promotion


def promoted(project: Project) -> Promotion | None:
    """Return the promotion in force."""
    return project.promotions.select_related("model", "promoted_by").first()


def serves(project: Project) -> LanguageModel | None:
    """Return the model of the promotion in force, unless it has been retired since, or answers no new question: an
    earlier version promoted best-of-N, which chose among answers of its parent."""
    in_force = promoted(project)
    model = in_force.model if in_force is not None else None
    return model if model is not None and model.retired_at is None and model.answers else None


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
