"""Evaluations run in this process on a tiny model: `measured(folder, model, {...}, rows)` -> result or failure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from training.core.run_directory import RunDirectory, RunSpec, read_lines

Row = dict[str, Any]


def laid(
    path: Path, model: Path | str, config: Row, *, texts: Iterable[Row] = (), other: Iterable[Row] = ()
) -> RunDirectory:
    """The run directory, with `texts` of the project's own or the rows of an `other` dataset."""
    run = RunDirectory(path)
    run.create(RunSpec("evaluate", config, parent=str(model)), {"texts": iter(texts)} if texts else {})
    if other:
        (path / "data" / "other").mkdir()
        (path / "data" / "other" / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in other))
    return run


def ended(run: RunDirectory) -> Row:
    """Its result, or its failure."""
    from evaluation.recipes import evaluate
    from training.recipes.common.entry import attempt

    found = run.result() if attempt(evaluate.main, run) == 0 else run.failure()
    assert found is not None
    return found


def result_of(run: RunDirectory) -> Row:
    result = run.result()
    assert result is not None, run.failure()
    return result


def items_of(run: RunDirectory) -> list[Row]:
    return list(read_lines(run.path / "items.jsonl"))
