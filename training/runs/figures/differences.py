"""Compare runs: options, figures, data. For the page of a run and for comparing several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import reverse

from annotate.data.datasets.count_names import count_words
from annotate.models import Dataset
from training.configs import current_names
from training.models import Run
from training.runs.figures import curves, progress

_NOTHING = "–"


@dataclass(frozen=True)
class Line:
    """One thing in which runs differ: a value for each of them."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """Compare this run with the one that it came from."""

    other: Run
    relation: str
    runs: tuple[Run, Run]  # this one, the other
    choices: list[Line]
    figures: list[Line]
    data: list[Line]
    compare: str  # the address where their curves lie over each other


def of_run(run: Run) -> list[Difference]:
    """Return the differences to the run that it was cloned from, and to the one that made its parent."""
    differences: list[Difference] = []
    made_by = run.parent.maker if run.parent else None
    for other, relation in ((run.cloned_from, "the run that it was copied from"), (made_by, "the run of its parent")):
        if (
            other is not None
            and other.project_id == run.project_id
            and other.pk not in [d.other.pk for d in differences]
        ):
            differences.append(_difference(run, other, relation))
    return differences


def _difference(run: Run, other: Run, relation: str) -> Difference:
    address = reverse("compare-runs", args=[run.project.slug])
    runs = (run, other)
    return Difference(
        other,
        relation,
        runs,
        choices(runs),
        figures(runs) if run.is_finished else [],
        data(runs),
        f"{address}?run={other.pk}&run={run.pk}",
    )


def choices(runs: Sequence[Run]) -> list[Line]:
    """Return options and parents that are not the same in all of these runs."""
    rows = {
        "kind": [run.kind for run in runs],
        "parent": [run.parent.name if run.parent else _NOTHING for run in runs],
        "dataset": [_dataset(run.dataset) for run in runs],
        "second dataset": [_dataset(run.other_dataset) for run in runs],
        "reward model": [", ".join(model.name for model in run.reward_models) or _NOTHING for run in runs],
        "seed": [str(run.seed) for run in runs],
        "code": [run.code_version or "unknown" for run in runs],
    }
    options = [current_names(run.kind, run.config) for run in runs]
    names = dict.fromkeys(name for each in options for name in each)
    kinds = {run.kind for run in runs}
    for name in names:
        # What only one kind of several has is no difference between the runs.
        if len(kinds) == 1 or len({run.kind for run, each in zip(runs, options, strict=True) if name in each}) > 1:
            rows[name] = [_value(each, name) for each in options]
    return _differing(rows)


def figures(runs: Sequence[Run]) -> list[Line]:
    """Return figures of the results that at least two of them have: of one kind, or measured alike."""
    figures_by_run = [dict(progress.figures(_plain(run.result))) for run in runs]
    names = dict.fromkeys(name for figures in figures_by_run for name in figures)
    shared = [name for name in names if sum(name in figures for figures in figures_by_run) > 1]
    return _differing({name: [figures.get(name, _NOTHING) for figures in figures_by_run] for name in shared})


def data(runs: Sequence[Run]) -> list[Line]:
    """Return what their datasets hold, where it is not the same."""
    counts = [_counts(run.dataset) for run in runs]
    names = dict.fromkeys(name for counts_of_run in counts for name in counts_of_run)
    return _differing({name: [counts_of_run.get(name, _NOTHING) for counts_of_run in counts] for name in names})


def _differing(rows: dict[str, list[str]]) -> list[Line]:
    return [Line(name, tuple(values)) for name, values in rows.items() if len(set(values)) > 1]


def _dataset(dataset: Dataset | None) -> str:
    return f"{dataset.name} {dataset.content_hash[:8]}" if dataset else _NOTHING


def _counts(dataset: Dataset | None) -> dict[str, str]:
    counts = dataset.counts if dataset else {}
    return {count_words(name): f"{count:,}" for name, count in counts.items() if curves.is_number(count)}


def _plain(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result's measurements: what it says of the parent is the parent's, and words are no figures."""
    left_out = ("parent", "stopped", "how_to_read", "verdict", "why", "hash")
    return {name: value for name, value in result.items() if name not in left_out and not isinstance(value, str)}


def _value(config: dict[str, Any], name: str) -> str:
    if name not in config:
        return _NOTHING
    value = config[name]
    return "none" if value is None else str(value)
