"""How a metric of the tax panel changed from parent to child, with its sign turned so that more is better."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from annotate.models import LanguageModel, Project
from evaluation.models import Evaluation


@dataclass(frozen=True)
class Change:
    """`gain` and its bounds are None where nothing can be said; then `problem` says why and `remedy` what to do."""

    label: str
    gain: float | None = None
    lower: float | None = None
    upper: float | None = None
    n: int = 0
    problem: str = ""
    remedy: str = ""


def change_of(project: Project, model: LanguageModel, parent: LanguageModel, tolerance: dict[str, Any]) -> Change:
    label = f"{tolerance['metric']} on {tolerance['task']}"
    found = {one.pk: _latest(project, one, tolerance) for one in (model, parent)}
    missing = [one.name for one in (model, parent) if found[one.pk] is None]
    if missing:
        return Change(
            label,
            problem=f"{label} has not been measured of {' and '.join(missing)}.",
            remedy=f"An evaluation of {' and of '.join(missing)} on {tolerance['task']}.",
        )
    ours, theirs = found[model.pk], found[parent.pk]
    assert ours is not None and theirs is not None
    if ours.items_hash != theirs.items_hash:
        return Change(label, problem="They were measured on different items.", remedy="Evaluate both on the same items.")
    if ours.standard_error is None or theirs.standard_error is None or ours.higher_is_better is None:
        return Change(label, problem=f"{label} has no interval.", remedy="Choose a metric that has one.")
    sign = 1 if ours.higher_is_better else -1
    gain = sign * (ours.value - theirs.value)
    half = 1.96 * math.hypot(ours.standard_error, theirs.standard_error)
    return Change(label, gain, gain - half, gain + half, ours.n)


def _latest(project: Project, model: LanguageModel, tolerance: dict[str, Any]) -> Evaluation | None:
    rows = Evaluation.objects.filter(project=project, model=model, group="")
    return rows.filter(task=tolerance["task"], metric=tolerance["metric"]).first()
