"""Present a classifier's run beside its figures: the confusion matrix, calibration, its mistakes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from annotate.core.artefacts import local_copies

if TYPE_CHECKING:
    from training.models import Run


_DARKEST = 45  # percent of the colour: the number on it must be readable
_FIRST = 8


@dataclass(frozen=True)
class Cell:
    n: int
    shade: int  # by its share of the row's texts
    is_right: bool


@dataclass(frozen=True)
class Line:
    label: str
    cells: list[Cell]
    precision: float
    recall: float
    f1: float
    n: int


def context(run: Run) -> dict[str, Any]:
    result = run.result or {}
    if "confusion" not in result:
        return {}
    lines = [
        Line(
            row["label"],
            [Cell(n, round(_DARKEST * n / max(row["n"], 1)), i == index) for i, n in enumerate(counts)],
            row["precision"],
            row["recall"],
            row["f1"],
            row["n"],
        )
        for index, (row, counts) in enumerate(zip(result["per_label"], result["confusion"], strict=True))
    ]
    return {"confusion": lines, "reliability": result.get("reliability", [])}


def mistakes_context(run: Run) -> dict[str, Any]:
    wrong = _mistakes(run)
    return {"mistakes": wrong[:_FIRST], "more_mistakes": wrong[_FIRST:]}


def _mistakes(run: Run) -> list[dict[str, Any]]:
    """Return the mistakes, only for those who may read rows: the template asks."""
    path = local_copies.glimpse(run.path / "mistakes.json")
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
