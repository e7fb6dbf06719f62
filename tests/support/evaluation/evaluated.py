"""Runs that have measured a model, with items and figures as the recipes leave them, made without a recipe."""

from __future__ import annotations

import json
from typing import Any

from annotate.models import Dataset, LanguageModel, Project
from evaluation.measures.recording import record_measure
from training import configs
from training.models import Run

Row = dict[str, Any]


def figure(value: float, n: int = 40, *, clean: float | None = None, half: float = 0.05, higher: bool = True) -> Row:
    ends = {"standard_error": half / 1.96, "lower": value - half, "upper": value + half, "higher_is_better": higher}
    without = None if clean is None else {"value": clean, "n": n - 4, "lower": clean - half, "upper": clean + half}
    return {"value": value, "n": n, **ends, "clean": without}


def item(place: int, *, right: bool = True, group: str = "", seen: bool | None = False, **shown: Any) -> Row:
    return {
        "id": f"item-{place}", "hash": f"{place:016x}", "group": group, "contaminated": seen,
        "seen_in": ["train.jsonl"] if seen else [], "counts": {"accuracy": [float(right), 1.0]},
        "shown": shown or {"context": f"Question {place}?", "candidates": ["yes", "no"], "right": "yes",
                           "answer": "yes" if right else "no", "log-probabilities": [-1.25, -2.5]},
    }  # fmt: skip


def make_evaluated(
    project: Project,
    model: LanguageModel,
    *,
    metrics: dict[str, Row] | None = None,
    items: list[Row] | None = None,
    task: str = "assay",
    items_hash: str = "abc",
    groups: dict[str, dict[str, Row]] | None = None,
    other_dataset: Dataset | None = None,
    config: Row | None = None,
    **result: Any,
) -> Run:
    """A run that succeeded, its items on the disk and its figures recorded."""
    run = Run.objects.create(
        kind="evaluate",
        name=f"how good {Run.objects.count() + 1}",
        project=project,
        parent=model,
        state=Run.State.SUCCEEDED,
        other_dataset=other_dataset,
        config=configs.parse("evaluate", config or {"measure": "choices"}).__dict__,
        result={
            "measure": "choices", "task": task, "items_hash": items_hash, "signature": "lm-eval 0; 0-shot", "n": 40,
            "metrics": metrics or {"accuracy": figure(0.7)}, "groups": groups or {}, "contaminated": 0, **result,
        },
    )  # fmt: skip
    if items is not None:
        run.path.mkdir(parents=True, exist_ok=True)
        (run.path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in items))
    record_measure(run, None)  # type: ignore[arg-type]
    return run
