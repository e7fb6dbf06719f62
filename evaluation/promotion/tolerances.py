"""Compute how a metric changed from parent to child, item by item, its sign turned so that more is better.

Two sorts: a metric of the tax panel, measured of either and paired here; and one of fluency, which is a difference to
the parent already, as one run measured both. Of entropy neither way is better, and a rule bounds it on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from annotate.models import LanguageModel, Project
from evaluation.measures import alignment_tax as tax
from evaluation.measures import measured_tasks, paired_differences
from evaluation.measures.recording import task_of
from evaluation.metrics import definitions as families
from evaluation.metrics import fluency_figures as fluency
from evaluation.models import Evaluation


@dataclass(frozen=True)
class Change:
    """Hold the change of one figure. `gain` and its bounds are None where nothing can be said; then `problem` says why
    and `remedy` what to do.

    `is_two_sided`: it may go neither way by more; then `gain` is simply the change.
    """

    label: str
    gain: float | None = None
    lower: float | None = None
    upper: float | None = None
    n: int = 0
    problem: str = ""
    remedy: str = ""
    is_two_sided: bool = False
    is_share: bool = False  # shown in percentage points


def in_words(tolerance: dict[str, Any]) -> str:
    """Return what the rule asks for, as a phrase: `At most 0.1 worse in bits per byte on python-texts`."""
    metric, worst = _metric(tolerance["metric"]), float(tolerance["worst"])
    if metric is None or not metric.limit:
        most = in_points(worst) if metric is not None and metric.is_share else f"{worst:.3g}"
        return f"At most {most} worse in {tolerance['metric']} on {tolerance['task']}"
    text = metric.limit.format(worst=f"{100 * worst:.3g} %" if metric.is_share else f"{worst:.3g}")
    return text if tolerance["task"] == fluency.TASK else f"{text}, on {tolerance['task']}"


def in_points(share: float) -> str:
    """Return 0.02 as 2 percentage points: where pages show per cent, a bare 0.02 reads as a fiftieth of it."""
    points = f"{100 * share:.3g}"
    return f"{points} percentage point{'' if points == '1' else 's'}"


def unit_of(metric: str) -> str:
    """Return how a number for this metric is to be given; "" where it is simply the metric's own."""
    metric_ = _metric(metric)
    return "0.02 is 2 percentage points" if metric_ is not None and metric_.is_share else ""


def limit_of(metric: str) -> str:
    """Return what a bound of this metric says, the number left open; "" where it is `worse than the parent by`."""
    metric_ = _metric(metric)
    return metric_.limit.format(worst="…") if metric_ is not None else ""


def change_of(project: Project, model: LanguageModel, parent: LanguageModel, tolerance: dict[str, Any]) -> Change:
    metric = _metric(tolerance["metric"])
    return replace(
        _change_of(project, model, parent, tolerance, metric), is_share=metric is not None and metric.is_share
    )


def _change_of(
    project: Project,
    model: LanguageModel,
    parent: LanguageModel,
    tolerance: dict[str, Any],
    metric: families.Metric | None,
) -> Change:
    label = f"{tolerance['metric']} on {tolerance['task']}"
    if metric is not None and metric.limit:
        return _measured_of_both(project, label, model, parent, tolerance)
    change = tax.change(model, parent, tolerance["task"], tolerance["metric"], project)
    if change is None:
        return _unknown(project, label, (model, parent), tolerance)
    if change.lower is None or change.upper is None:
        problem = f"{label} was measured on {change.n} items of both models, too few for an interval."
        return Change(label, n=change.n, problem=problem, remedy="Evaluate on more items.")
    if change.higher_is_better:
        return Change(label, change.value, change.lower, change.upper, change.n)
    return Change(label, -change.value, -change.upper, -change.lower, change.n)


def _measured_of_both(
    project: Project, label: str, model: LanguageModel, parent: LanguageModel, tolerance: dict[str, Any]
) -> Change:
    """Return the newest difference that a run measured of this model and this parent."""
    rows = Evaluation.objects.filter(project=project, model=model, opponent=parent, group="")
    difference = rows.filter(task=tolerance["task"], metric=tolerance["metric"]).order_by("-pk").first()
    if difference is None:
        remedy = f"Evaluate the fluency of {model}."
        if model.parent_id != parent.pk:
            return Change(
                label, problem=f"Fluency compares a model with its own parent, and {parent} is not its parent."
            )
        return Change(
            label, problem=f"The fluency of {model} compared with {parent} has not been measured.", remedy=remedy
        )
    if difference.lower is None or difference.upper is None:
        problem = f"{label} was measured on {difference.n} prompts that both answered, too few for an interval."
        return Change(label, n=difference.n, problem=problem, remedy="Evaluate on more prompts.")
    if families.find(tolerance["metric"]).higher_is_better is None:
        return Change(label, difference.value, difference.lower, difference.upper, difference.n, is_two_sided=True)
    return Change(label, -difference.value, -difference.upper, -difference.lower, difference.n)


def _metric(name: str) -> families.Metric | None:
    return families.find(name) if paired_differences.is_known(name) else None


def measures(project: Project) -> list[tuple[str, str]]:
    """Return (task, metric) of all that can be part of a rule: what was measured of models that answer, item by item,
    and the bounds of fluency."""
    measured = {
        (task_of(run), metric)
        for run in measured_tasks.measured(project)
        for metric in run.result["metrics"]
        if run.config.get("measure") != "fluency"
        and paired_differences.is_known(metric)
        and run.parent is not None
        and run.parent.kind == LanguageModel.Kind.POLICY
    }
    return sorted(measured) + [(fluency.TASK, metric) for metric in fluency.BOUNDED]


def _unknown(
    project: Project, label: str, models: tuple[LanguageModel, LanguageModel], tolerance: dict[str, Any]
) -> Change:
    measured = set(_measured(project, tolerance))
    missing = [model.name for model in models if model.pk not in measured]
    if missing:
        names = " and ".join(missing)
        return Change(label, problem=f"{label} has not been measured for {names}.", remedy=f"Evaluate {names}.")
    return Change(
        label,
        problem=f"{label} was measured for both, but not on the same items with the same settings.",
        remedy="Evaluate both on the same items with the same settings: queue the missing runs on the tax panel.",
    )


def _measured(project: Project, tolerance: dict[str, Any]) -> Iterator[int]:
    for run in measured_tasks.measured(project):
        if task_of(run) == tolerance["task"] and tolerance["metric"] in run.result["metrics"] and run.parent_id:
            yield run.parent_id
