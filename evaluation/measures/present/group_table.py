"""Set the parts of one task side by side: groups by models, in one metric."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from annotate.models import LanguageModel
from evaluation.measures.present import figure_formats
from evaluation.measures.present.figure_formats import Shown
from evaluation.models import Evaluation


@dataclass(frozen=True)
class Groups:
    """Hold figures by group. `rows` are (group, items of it, the figure of each model or None), in the order of their
    names."""

    metric: str
    metrics: list[str]
    models: list[LanguageModel]
    rows: list[tuple[str, int, list[Shown | None]]]


def groups_of(evaluations: Iterable[Evaluation], metric: str = "") -> Groups | None:
    """Return the groups of the standing figures of one task; None where it has no groups. Without a metric, the first
    one there is."""
    parts = [evaluation for evaluation in evaluations if evaluation.group]
    metrics = list(dict.fromkeys(evaluation.metric for evaluation in parts))
    if not metrics:
        return None
    metric = metric if metric in metrics else metrics[0]
    parts = [evaluation for evaluation in parts if evaluation.metric == metric]
    models = {e.model_id: e.model for e in sorted(parts, key=lambda e: e.model_id)}
    cells = {(e.group, e.model_id): figure_formats.of_evaluation(e) for e in parts}
    sizes = {e.group: e.n for e in parts}
    names = sorted(sizes, key=str.casefold)
    rows = [(name, sizes[name], [cells.get((name, pk)) for pk in models]) for name in names]
    return Groups(metric, metrics, list(models.values()), rows)
