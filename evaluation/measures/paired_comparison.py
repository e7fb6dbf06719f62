"""Models set beside each other on the same items: paired differences of every metric, from what their runs left.

The difference of two models on the items that both met is known far better than either's value; so all that is said
here of "better" and "worse" comes from pairs of items, never from two intervals that do or do not overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from annotate.models import LanguageModel
from evaluation.measures.measured_tasks import FIRST, PARENT, Task, settings_that_differ
from evaluation.measures.paired_differences import Pair, by_group, pair
from evaluation.metrics import paired_tests
from evaluation.metrics.figure_intervals import Figure
from evaluation.metrics.paired_tests import Difference
from training.models import Run


@dataclass(frozen=True)
class Tested:
    """One difference among all that were tested at once. `more` items would settle it, about so many in all."""

    difference: Difference
    adjusted: float
    verdict: str
    more: int | None


@dataclass(frozen=True)
class Line:
    """One metric: a figure of each model, and its difference to the model that it is set against."""

    metric: str
    figures: list[Figure | None]
    tested: list[Tested | None]


@dataclass(frozen=True)
class GroupLine:
    """One part of the task under one metric: `tested` as in a Line, corrected for all parts."""

    group: str
    n: int
    tested: list[Tested | None]


@dataclass(frozen=True)
class Comparison:
    """Hold a comparison of models on the same items. `against[i]` is the place of the model that model i is set
    against; None for the one that others are."""

    task: str
    measure: str
    runs: list[Run]
    against: list[int | None]
    lines: list[Line]
    clean_lines: list[Line]
    n: int
    n_clean: int
    tests: int
    refused: list[tuple[LanguageModel, str]]
    notes: list[str]
    group_metric: str = ""
    groups: list[GroupLine] = field(default_factory=list)


# Several runs


def compare(task: Task, runs: Sequence[Run], to: str = FIRST, group_metric: str = "") -> Comparison:
    """Return each run's model against the first, or against its parent where that is among them.

    A run that met other items is left out, and said; p values are corrected for all differences shown (Holm). Parts
    of the task are told by `group_metric`, or the first there is.
    """
    kept_runs, refused = _on_the_same_items(runs)
    references = [_against(kept_runs, index, to) for index in range(len(kept_runs))]
    pairs = [None if a is None else pair(kept_runs[a], run) for a, run in zip(references, kept_runs, strict=True)]
    lines = _lines(kept_runs, pairs, "all")
    names = [line.metric for line in lines]
    by = group_metric if group_metric in names else next(iter(names), "")
    clean = _lines(kept_runs, pairs, "clean") if any(p and 0 < p.n_clean < p.n for p in pairs) else []
    return Comparison(
        task.name,
        task.measure,
        kept_runs,
        references,
        lines,
        clean,
        int(kept_runs[0].result["n"]) if kept_runs else 0,
        min((p.n_clean for p in pairs if p), default=0),
        sum(t is not None for line in lines for t in line.tested),
        refused,
        settings_that_differ(kept_runs),
        by,
        _group_lines(kept_runs, references, by),
    )


def _on_the_same_items(runs: Sequence[Run]) -> tuple[list[Run], list[tuple[LanguageModel, str]]]:
    kept_runs: list[Run] = []
    refused = []
    for run in runs:
        assert run.parent is not None
        reason = pair(kept_runs[0], run).refused if kept_runs else ""
        if reason:
            refused.append((run.parent, reason))
        else:
            kept_runs.append(run)
    return kept_runs, refused


def _against(runs: list[Run], index: int, to: str) -> int | None:
    if to == PARENT:
        parent = runs[index].parent
        above = parent.parent_id if parent else None
        return next((i for i, run in enumerate(runs) if run.parent_id == above and i != index), None)
    return 0 if index else None


def _lines(runs: list[Run], pairs: list[Pair | None], item_set: str) -> list[Line]:
    names = list(dict.fromkeys(name for p in pairs if p for name in getattr(p, item_set)))
    differences = [[getattr(p, item_set).get(name) if p else None for p in pairs] for name in names]
    tested = iter(tested_at_once([d for row in differences for d in row if d is not None]))
    return [
        Line(name, [figure_of(run, name, item_set) for run in runs], [next(tested) if d else None for d in row])
        for name, row in zip(names, differences, strict=True)
    ]


def _group_lines(runs: list[Run], references: list[int | None], metric: str) -> list[GroupLine]:
    groups_of_run = [
        None if a is None else by_group(runs[a], run, metric) for a, run in zip(references, runs, strict=True)
    ]
    groups = list(dict.fromkeys(group for each in groups_of_run if each for group in each))
    rows = [[each.get(group) if each else None for each in groups_of_run] for group in groups]
    tested = iter(tested_at_once([d for row in rows for d in row if d is not None]))
    return [
        GroupLine(group, next(d.n for d in row if d), [next(tested) if d else None for d in row])
        for group, row in zip(groups, rows, strict=True)
    ]


def tested_at_once(differences: Sequence[Difference]) -> list[Tested]:
    """Return each comparison with its p value corrected for all of them, and what it says in a word."""
    adjusted = paired_tests.holm([d.p for d in differences])
    return [
        Tested(
            d, p, word := paired_tests.verdict(d, p), paired_tests.items_to_settle(d) if word == "undecided" else None
        )
        for d, p in zip(differences, adjusted, strict=True)
    ]


def figure_of(run: Run, name: str, item_set: str = "all") -> Figure | None:
    """Return a figure as the run's own page says it. `clean` is without the items that this model had seen."""
    metric = run.result["metrics"].get(name) or {}
    if item_set == "clean":
        metric = metric.get("clean") or {}
    if metric.get("value") is None:
        return None
    ends = (metric.get("standard_error"), metric.get("lower"), metric.get("upper"))
    return Figure(name, metric["value"], *ends, metric.get("n") or 0, metric.get("higher_is_better"))
