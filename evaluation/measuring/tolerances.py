"""How a metric of the tax panel changed from parent to child, item by item, its sign turned so that more is better."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from annotate.models import LanguageModel, Project
from evaluation.kinds import task_of
from evaluation.measuring import compare, tax


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
    found = tax.change(model, parent, tolerance["task"], tolerance["metric"], project)
    if found is None:
        return _unknown(project, label, (model, parent), tolerance)
    if found.lower is None or found.upper is None:
        few = f"{label} was measured on {found.n} items that both met, too few for an interval."
        return Change(label, n=found.n, problem=few, remedy="An evaluation on more items.")
    if found.higher_is_better:
        return Change(label, found.value, found.lower, found.upper, found.n)
    return Change(label, -found.value, -found.upper, -found.lower, found.n)


def measures(project: Project) -> list[tuple[str, str]]:
    """(task, metric) of all that was measured of models that answer, item by item, and so can be part of a rule."""
    found = {
        (task_of(run), metric)
        for run in compare.measured(project)
        for metric in run.result["metrics"]
        if compare.is_known(metric) and run.parent is not None and run.parent.kind == LanguageModel.Kind.POLICY
    }
    return sorted(found)


def _unknown(
    project: Project, label: str, models: tuple[LanguageModel, LanguageModel], tolerance: dict[str, Any]
) -> Change:
    measured = set(_measured(project, tolerance))
    missing = [model.name for model in models if model.pk not in measured]
    if missing:
        names = " and ".join(missing)
        return Change(label, problem=f"{label} has not been measured of {names}.", remedy=f"An evaluation of {names}.")
    return Change(
        label,
        problem=f"{label} was measured of both, and not on the same items with the same settings.",
        remedy="An evaluation of both on the same items, with the same settings: queue what is missing from the tax "
        "panel.",
    )


def _measured(project: Project, tolerance: dict[str, Any]) -> Iterator[int]:
    for run in compare.measured(project):
        if task_of(run) == tolerance["task"] and tolerance["metric"] in run.result["metrics"] and run.parent_id:
            yield run.parent_id
