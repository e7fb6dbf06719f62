"""Fluency beside the ratings: what the newest evaluation says of each model's answers under its parent.

A rating says that people prefer the answers; this says whether they are language still. Both stand in one row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import F, QuerySet

from annotate.models import LanguageModel, Project
from evaluation.metrics import fluency_figures as fluency
from evaluation.models import Evaluation

# Name in exports and the API -> metric.
FIGURES = {
    "surprise": fluency.SURPRISE,
    "parents_surprise": fluency.PARENTS_SURPRISE,
    "surprise_above_parent": fluency.SURPRISE_ABOVE,
    "entropy": fluency.ENTROPY,
    "parents_entropy": fluency.PARENTS_ENTROPY,
    "entropy_above_parent": fluency.ENTROPY_ABOVE,
    "foreign_scripts": fluency.FOREIGN,
}


@dataclass(frozen=True)
class Fluency:
    """The figures of one run; nats a token, and a share of characters. None where the run had none."""

    parent: LanguageModel
    run_id: int | None
    prompts: int
    surprise: Evaluation | None
    parents_surprise: Evaluation | None
    surprise_above_parent: Evaluation | None
    entropy: Evaluation | None
    parents_entropy: Evaluation | None
    entropy_above_parent: Evaluation | None
    foreign_scripts: Evaluation | None


def of_models(project: Project, models: Iterable[int], until: datetime | None = None) -> dict[int, Fluency]:
    """Return the fluency of each model by its newest run that set it beside its parent, in one query."""
    rows = measured(project).filter(model__in=list(models)).select_related("opponent").order_by("pk")
    if until is not None:
        rows = rows.filter(created_at__lte=until)
    newest: dict[int, dict[str, Evaluation]] = {}
    for row in rows:
        figures = newest.setdefault(row.model_id, {})
        if any(other.run_id != row.run_id for other in figures.values()):
            figures.clear()
        figures[row.metric] = row
    return {model: _fluency(figures) for model, figures in newest.items()}


def measured(project: Project) -> QuerySet[Evaluation]:
    """Return all such figures, of models beside their present parent."""
    beside_parent = Evaluation.objects.filter(project=project, opponent=F("model__parent"), group="")
    return beside_parent.filter(task=fluency.TASK, metric__in=FIGURES.values())


def flat(fluency: Fluency | None) -> dict[str, Any]:
    """Return the columns of a file; each is None without a measurement."""
    columns: dict[str, Any] = {}
    for name in FIGURES:
        figure = getattr(fluency, name) if fluency else None
        columns[name] = figure and round(figure.value, 4)
        if not name.startswith("parents"):
            for end in ("lower", "upper"):
                value = getattr(figure, end) if figure else None
                columns[f"{name}_{end}"] = value if value is None else round(value, 4)
    return columns


COLUMNS = tuple(flat(None))


def _fluency(figures: dict[str, Evaluation]) -> Fluency:
    first = next(iter(figures.values()))
    assert first.opponent is not None
    return Fluency(
        first.opponent, first.run_id, first.n, **{name: figures.get(metric) for name, metric in FIGURES.items()}
    )
