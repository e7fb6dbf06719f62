"""A comparison of models as plain data: for the API, for files, and item by item for the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluation.measures import item_store as items
from evaluation.measures.paired_comparison import Comparison, Line, Tested
from evaluation.measures.paired_differences import columns
from evaluation.metrics import definitions as families
from evaluation.metrics import paired_tests
from training.models import Run


def item_pairs(first: Run, second: Run, metric: str) -> tuple[list[str], np.ndarray]:
    """Return ids of the items, those first that move the difference most, with their pulls; items that move nothing
    last."""
    one, other = columns(first), columns(second)
    if one is None or other is None or metric not in one.counts or metric not in other.counts:
        return [], np.empty(0)
    paired_tests.check_same(one.hashes, other.hashes)
    pulls = paired_tests.pull(families.find(metric), one.counts[metric], other.counts[metric])
    order = np.argsort(-np.abs(pulls), kind="stable")
    return [one.ids[i] for i in order], pulls[order]


def rows_of(run: Run, ids: Sequence[str]) -> dict[str, items.Row]:
    """Return the items of these ids, read one by one."""
    wanted_ids = set(ids)
    return {str(row["id"]): row for row in items.read_all(run.path) if str(row["id"]) in wanted_ids}


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return everything that the page says, for programs, with its numbers whole."""
    return {
        "task": comparison.task,
        "measure": comparison.measure,
        "models": [
            {"model": run.parent_id, "name": str(run.parent), "run": run.pk, "against": _name(comparison, index)}
            for index, run in enumerate(comparison.runs)
        ],
        "n": comparison.n,
        "n_clean": comparison.n_clean,
        "tests": comparison.tests,
        "metrics": [_line_json(comparison, line) for line in comparison.lines],
        "clean": [_line_json(comparison, line) for line in comparison.clean_lines],
        "groups": {
            "metric": comparison.group_metric,
            "parts": [
                {
                    "group": line.group,
                    "n": line.n,
                    "models": [
                        {"model": run.parent_id, "difference": tested_json(tested)}
                        for run, tested in zip(comparison.runs, line.tested, strict=True)
                    ],
                }
                for line in comparison.groups
            ],
        },
        "left_out": [{"model": model.pk, "name": str(model), "why": reason} for model, reason in comparison.refused],
        "notes": comparison.notes,
    }


def _name(comparison: Comparison, index: int) -> str | None:
    reference = comparison.against[index]
    return None if reference is None else str(comparison.runs[reference].parent)


def _line_json(comparison: Comparison, line: Line) -> dict[str, Any]:
    rows = zip(comparison.runs, line.figures, line.tested, strict=True)
    return {
        "metric": line.metric,
        "models": [
            {
                "model": run.parent_id,
                "value": figure.value if figure else None,
                "lower": figure.lower if figure else None,
                "upper": figure.upper if figure else None,
                "n": figure.n if figure else None,
                "difference": tested_json(tested),
            }
            for run, figure, tested in rows
        ],
    }


def tested_json(tested: Tested | None) -> dict[str, Any] | None:
    if tested is None:
        return None
    d = tested.difference
    return {
        "value": d.value,
        "lower": d.lower,
        "upper": d.upper,
        "standard_error": d.standard_error,
        "n": d.n,
        "differing_items": d.differing,
        "p": d.p,
        "p_holm": tested.adjusted,
        "test": d.test,
        "verdict": tested.verdict,
        "items_to_settle": tested.more,
    }
