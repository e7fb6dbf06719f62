"""Look up figures of judge models with many verdicts or votes: the background worker computes those of all versions of
the rubrics of a project at once, and they are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from django.db.models import Max

from annotate.models import Comparison, Project, StatusChange
from evaluation.core import kept_figures
from evaluation.core.kept_figures import BeingComputed, Tell
from evaluation.models import KeptFigures, RepeatedVerdict, Rubric, Verdict

FEW = 3_000  # verdicts and comparisons of a project whose figures are computed within a request
Value = TypeVar("Value")


def is_large(project: Project) -> bool:
    tables = (Verdict.objects.filter(rubric__judge__project=project), Comparison.objects.filter(project=project))
    return sum(rows.order_by()[: FEW + 1].count() for rows in tables) > FEW


def kept(rubric: Rubric, kind: str, what: str, classes: Iterable[type]) -> Any:
    """Return what is kept of this version. Raises BeingComputed where nothing is."""
    project = rubric.judge.project
    state, standing = _newest(project)
    found = kept_figures.kept(project, kind, what, lambda row: kept_figures.grows(row, state, standing), classes)
    if rubric.pk not in found:
        raise BeingComputed(kept_figures.ask(project, kind, what))
    return found[rubric.pk]


def compute_each(project: Project, tell: Tell, compute: Callable[[Rubric], Value]) -> tuple[str, dict[int, Value]]:
    """Return the state before, and what `compute` returns of each version with verdicts, by its id."""
    state, _ = _newest(project)
    rubrics = Rubric.objects.filter(judge__project=project).select_related("judge__model", "judge__project")
    judged = [rubric for rubric in rubrics.order_by("pk") if rubric.verdicts.exists()]
    found = {}
    for number, rubric in enumerate(judged):
        tell(f"comparing version {number + 1} of {len(judged)} with votes", number / len(judged))
        found[rubric.pk] = compute(rubric)
    return state, found


def row_of(project: Project, kind: str, what: str) -> KeptFigures | None:
    """Return how old the figures of a page are, and how far newer ones; None where a page computes them itself."""
    return kept_figures.look(project, kind, what) if is_large(project) else None


def _newest(project: Project) -> tuple[str, str]:
    """Return the state of verdicts and votes in a few look-ups, and the part of it that only changes of a status or of
    a price change."""
    changes = StatusChange.objects.aggregate(last=Max("pk"))["last"] or 0
    prices = project.judge_models.aggregate(a=Max("model__prompt_price"), b=Max("model__completion_price"))
    standing = f"{changes} {prices['a']} {prices['b']} "
    tables = (
        Verdict.objects.filter(rubric__judge__project=project),
        RepeatedVerdict.objects.filter(verdict__rubric__judge__project=project),
        Comparison.objects.filter(project=project),
    )
    return standing + "-".join(str(rows.aggregate(last=Max("pk"))["last"] or 0) for rows in tables), standing
