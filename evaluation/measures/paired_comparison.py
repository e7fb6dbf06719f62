"""Models set beside each other on the same items: paired differences of every metric, from what their runs left.

The difference of two models on the items that both met is known far better than either's value; so all that is said
here of "better" and "worse" comes from pairs of items, never from two intervals that do or do not overlap.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from django.core.cache import cache

from annotate.models import LanguageModel, Project
from evaluation.measures import item_store as items
from evaluation.measures.recording import task_of
from evaluation.metrics import definitions as families
from evaluation.metrics import paired_tests
from evaluation.metrics.figure_intervals import Figure
from evaluation.metrics.paired_tests import Difference
from training.configs.evaluate import EvaluateConfig
from training.models import Run

VERSION = 2  # of what is kept in the cache
MOST_GROUPS = 100
FIRST, PARENT = "first", "parent"  # what each model is set against
# Options that change no figure, or whose difference the items' own hash tells.
_SILENT = {"measure", "batch_size", "contamination", "draws", "limit"}


@dataclass(frozen=True)
class Task:
    """What at least one model was measured on, and how."""

    name: str
    measure: str
    models: int

    @property
    def key(self) -> str:
        return f"{self.measure}:{self.name}"


@dataclass(frozen=True)
class Columns:
    """The items of one run, in the order of their ids."""

    ids: list[str]
    hashes: dict[str, str]
    seen: np.ndarray  # (n,) bool
    group: np.ndarray  # (n,) str
    counts: dict[str, np.ndarray]  # metric -> (n, k)


@dataclass(frozen=True)
class Pair:
    """Two runs item by item. `clean` leaves out what either model had seen; `refused` says why there is nothing."""

    all: dict[str, Difference] = field(default_factory=dict)
    clean: dict[str, Difference] = field(default_factory=dict)
    n: int = 0
    n_clean: int = 0
    refused: str = ""


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
    """`against[i]` is the place of the model that model i is set against; None for the one that others are."""

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

    @property
    def has_clean(self) -> bool:
        return 0 < self.n_clean < self.n


def measured(project: Project) -> list[Run]:
    """Evaluations that ended well and left items, newest first."""
    done = project.runs.filter(kind="evaluate", state=Run.State.SUCCEEDED).exclude(parent=None)
    rows = done.select_related("parent", "other_dataset", "reward_model").order_by("-pk")
    return [run for run in rows if run.result.get("items_hash")]


def tasks(runs: Iterable[Run]) -> list[Task]:
    """What models were measured on, item by item; where most were measured first."""
    models: dict[tuple[str, str], set[int | None]] = defaultdict(set)
    for run in runs:
        models[task_of(run), run.config.get("measure", "")].add(run.parent_id)
    tasks = [Task(name, measure, len(ids)) for (name, measure), ids in models.items()]
    return sorted(tasks, key=lambda task: (-task.models, task.name.casefold(), task.measure))


def of_task(runs: Iterable[Run], task: Task, models: Iterable[int] | None = None) -> list[Run]:
    """Those of that task, and of these models, in the order given."""
    wanted = None if models is None else set(models)
    return [run for run in runs if key_of(run) == task.key and (wanted is None or run.parent_id in wanted)]


def key_of(run: Run) -> str:
    return Task(task_of(run), run.config.get("measure", ""), 0).key


def one_each(runs: Iterable[Run]) -> list[Run]:
    """For each model the newest run on the items, and by the settings, that most of the models share; ancestors before
    descendants.

    `runs` are of one task, newest first.
    """
    by_model: dict[int, list[Run]] = defaultdict(list)
    for run in runs:
        by_model[run.parent_id or 0].append(run)
    ways = {run.pk: (str(run.result["items_hash"]), *way_of(run)) for own in by_model.values() for run in own}
    shared = Counter(way for own in by_model.values() for way in {ways[run.pk] for run in own})
    newest = {way: max(pk for pk, other in ways.items() if other == way) for way in shared}
    best = max(shared, key=lambda way: (shared[way], newest[way]), default=None)
    chosen = [next((r for r in own if ways[r.pk] == best), own[0]) for own in by_model.values()]
    return sorted(chosen, key=lambda run: (_depth(run), run.parent_id))


def _depth(run: Run) -> int:
    depth, model, seen = 0, run.parent, set()
    while model is not None and model.parent_id and model.pk not in seen:
        seen.add(model.pk)
        depth, model = depth + 1, model.parent
    return depth


# Two runs


def pair(first: Run, second: Run) -> Pair:
    """Every metric that both counted, on all items and on those that neither had seen; kept once it is computed."""
    key = f"pair:{VERSION}:{_stamp(first)}:{_stamp(second)}"
    pair: Pair | None = cache.get(key)
    if pair is None:
        pair = _pair(first, second)
        if not _gone(first, second):  # what is gone may come back
            cache.set(key, pair, None)
    return pair


def by_group(first: Run, second: Run, metric: str) -> dict[str, Difference]:
    """The difference on each part of the task: for whom, or at what, the second is better. Kept like `pair`."""
    key = f"pair-groups:{VERSION}:{_stamp(first)}:{_stamp(second)}:{hashlib.sha256(metric.encode()).hexdigest()[:16]}"
    differences: dict[str, Difference] | None = cache.get(key)
    if differences is None:
        differences = _by_group(first, second, metric)
        cache.set(key, differences, None)
    return differences


def _by_group(first: Run, second: Run, metric: str) -> dict[str, Difference]:
    one, other = columns(first), columns(second)
    if one is None or other is None or metric not in one.counts or metric not in other.counts:
        return {}
    groups = sorted(set(one.group) - {""})[:MOST_GROUPS]
    draws, seed = int(first.config.get("draws", 1000)), first.seed
    found = ((g, _difference(metric, one, other, one.group == g, draws, seed)) for g in groups)
    return {str(group): difference for group, difference in found if difference is not None}


def _stamp(run: Run) -> str:
    """A run of another database, at the same number, is another run."""
    return f"{run.pk}-{run.created_at.timestamp():.0f}-{run.result['items_hash'][:12]}"


def _pair(first: Run, second: Run) -> Pair:
    one, other = columns(first), columns(second)
    if one is None or other is None:
        return Pair(refused=_gone(first, second))
    try:
        paired_tests.check_same(one.hashes, other.hashes)
    except paired_tests.NotTheSameItems as error:
        return Pair(refused=str(error))
    clean = ~(one.seen | other.seen)
    metrics = [name for name in one.counts if name in other.counts and is_known(name)]
    draws, seed = int(first.config.get("draws", 1000)), first.seed
    return Pair(
        {name: d for name in metrics if (d := _difference(name, one, other, np.ones_like(clean), draws, seed))},
        {name: d for name in metrics if clean.any() and (d := _difference(name, one, other, clean, draws, seed))},
        len(clean),
        int(clean.sum()),
    )


def _gone(*runs: Run) -> str:
    """Of the first run whose items are gone; "" where all are there."""
    gone = next((run for run in runs if not _has_items(run)), None)
    return f"The items of run {gone.pk} are gone from the disk; measure {gone.parent} again." if gone else ""


def _has_items(run: Run) -> bool:
    try:
        return items.index_of(run.path) is not None
    except items.Damaged:
        return False


def _difference(
    name: str, one: Columns, other: Columns, chosen: np.ndarray, draws: int, seed: int
) -> Difference | None:
    """None where a metric of these items is no number, as a ratio over nothing is."""
    first, second = one.counts[name][chosen], other.counts[name][chosen]
    if first.shape != second.shape:
        return None
    try:
        return paired_tests.difference(families.find(name), first, second, draws, seed)
    except ValueError:
        return None


def is_known(name: str) -> bool:
    try:
        families.find(name)
    except ValueError:
        return False
    return True


def columns(run: Run) -> Columns | None:
    """What the items of a run counted; None where they are gone."""
    if not _has_items(run):
        return None
    rows = sorted(items.read_all(run.path), key=lambda row: str(row["id"]))
    names = list(rows[0]["counts"]) if rows else []
    return Columns(
        [str(row["id"]) for row in rows],
        {str(row["id"]): str(row.get("hash", "")) for row in rows},
        np.array([row.get("contaminated") is True for row in rows]),
        np.array([row.get("group", "") for row in rows]),
        {name: np.array([row["counts"][name] for row in rows], dtype=float) for name in names},
    )


# Several runs


def compare(task: Task, runs: Sequence[Run], to: str = FIRST, group_metric: str = "") -> Comparison:
    """Each run's model against the first, or against its parent where that is among them.

    A run that met other items is left out, and said; p values are corrected for all differences shown (Holm). Parts
    of the task are told by `group_metric`, or the first there is.
    """
    kept, refused = _on_the_same_items(runs)
    against = [_against(kept, place, to) for place in range(len(kept))]
    pairs = [None if a is None else pair(kept[a], run) for a, run in zip(against, kept, strict=True)]
    lines = _lines(kept, pairs, "all")
    names = [line.metric for line in lines]
    by = group_metric if group_metric in names else next(iter(names), "")
    clean = _lines(kept, pairs, "clean") if any(p and 0 < p.n_clean < p.n for p in pairs) else []
    return Comparison(
        task.name,
        task.measure,
        kept,
        against,
        lines,
        clean,
        int(kept[0].result["n"]) if kept else 0,
        min((p.n_clean for p in pairs if p), default=0),
        sum(t is not None for line in lines for t in line.tested),
        refused,
        settings_that_differ(kept),
        by,
        _group_lines(kept, against, by),
    )


def _on_the_same_items(runs: Sequence[Run]) -> tuple[list[Run], list[tuple[LanguageModel, str]]]:
    kept: list[Run] = []
    refused = []
    for run in runs:
        assert run.parent is not None
        why = pair(kept[0], run).refused if kept else ""
        if why:
            refused.append((run.parent, why))
        else:
            kept.append(run)
    return kept, refused


def _against(runs: list[Run], place: int, to: str) -> int | None:
    if to == PARENT:
        parent = runs[place].parent
        above = parent.parent_id if parent else None
        return next((i for i, run in enumerate(runs) if run.parent_id == above and i != place), None)
    return 0 if place else None


def _lines(runs: list[Run], pairs: list[Pair | None], which: str) -> list[Line]:
    names = list(dict.fromkeys(name for p in pairs if p for name in getattr(p, which)))
    found = [[getattr(p, which).get(name) if p else None for p in pairs] for name in names]
    tested = iter(tested_at_once([d for row in found for d in row if d is not None]))
    return [
        Line(name, [figure_of(run, name, which) for run in runs], [next(tested) if d else None for d in row])
        for name, row in zip(names, found, strict=True)
    ]


def _group_lines(runs: list[Run], against: list[int | None], metric: str) -> list[GroupLine]:
    found = [None if a is None else by_group(runs[a], run, metric) for a, run in zip(against, runs, strict=True)]
    groups = list(dict.fromkeys(group for each in found if each for group in each))
    rows = [[each.get(group) if each else None for each in found] for group in groups]
    tested = iter(tested_at_once([d for row in rows for d in row if d is not None]))
    return [
        GroupLine(group, next(d.n for d in row if d), [next(tested) if d else None for d in row])
        for group, row in zip(groups, rows, strict=True)
    ]


def tested_at_once(differences: Sequence[Difference]) -> list[Tested]:
    """Each with its p value corrected for all of them, and what it says in a word."""
    adjusted = paired_tests.holm([d.p for d in differences])
    return [
        Tested(
            d, p, word := paired_tests.verdict(d, p), paired_tests.items_to_settle(d) if word == "undecided" else None
        )
        for d, p in zip(differences, adjusted, strict=True)
    ]


def figure_of(run: Run, name: str, which: str = "all") -> Figure | None:
    """As the run's own page says it. `clean` is without the items that this model had seen."""
    told = run.result["metrics"].get(name) or {}
    if which == "clean":
        told = told.get("clean") or {}
    if told.get("value") is None:
        return None
    ends = (told.get("standard_error"), told.get("lower"), told.get("upper"))
    return Figure(name, told["value"], *ends, told.get("n") or 0, told.get("higher_is_better"))


def settings_that_differ(runs: Sequence[Run]) -> list[str]:
    """A sentence for each option, library or version that was not the same: then the difference is not of the models
    alone."""
    said = []
    options = [_options(run) for run in runs]
    for name in options[0] if options else ():
        values = [json.dumps(each.get(name), ensure_ascii=False) for each in options]
        if len(set(values)) > 1:
            text = ", ".join(f"{value} for {run.parent}" for value, run in zip(values, runs, strict=True))
            said.append(f"They were not run alike: {name} was {text}. The differences hold that, too.")
    ways: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        ways[_made_by(run)].append(str(run.parent))
    if len(ways) > 1:
        text = "; ".join(f"{' and '.join(names)} by “{way}”" for way, names in ways.items())
        said.append(f"They were not measured alike: {text}. Differences may come from that.")
    return said


def way_of(run: Run) -> tuple[str, str]:
    """How it was measured: the same for runs of which only the models differ."""
    return json.dumps(_options(run), sort_keys=True), _made_by(run)


def _options(run: Run) -> dict[str, Any]:
    """Those that mean something for its measure, and change a figure."""
    measure = run.config.get("measure")
    meant = (o for o in fields(EvaluateConfig) if not o.metadata["only"] or measure in o.metadata["only"])
    return {option.name: run.config.get(option.name) for option in meant if option.name not in _SILENT}


def _made_by(run: Run) -> str:
    """Libraries, versions and settings, without the hashes of items and model that come first."""
    return str(run.result.get("signature", "")).partition("; ")[2]


# Item by item


def item_pairs(first: Run, second: Run, metric: str) -> tuple[list[str], np.ndarray]:
    """Ids of the items, those first that move the difference most, with their pulls; items that move nothing last."""
    one, other = columns(first), columns(second)
    if one is None or other is None or metric not in one.counts or metric not in other.counts:
        return [], np.empty(0)
    paired_tests.check_same(one.hashes, other.hashes)
    pulls = paired_tests.pull(families.find(metric), one.counts[metric], other.counts[metric])
    order = np.argsort(-np.abs(pulls), kind="stable")
    return [one.ids[i] for i in order], pulls[order]


def rows_of(run: Run, ids: Sequence[str]) -> dict[str, items.Row]:
    """The items of these ids, read one by one."""
    wanted = set(ids)
    return {str(row["id"]): row for row in items.read_all(run.path) if str(row["id"]) in wanted}


def as_json(found: Comparison) -> dict[str, Any]:
    """For programs: everything that the page says, with its numbers whole."""
    return {
        "task": found.task,
        "measure": found.measure,
        "models": [
            {"model": run.parent_id, "name": str(run.parent), "run": run.pk, "against": _name(found, place)}
            for place, run in enumerate(found.runs)
        ],
        "n": found.n,
        "n_clean": found.n_clean,
        "tests": found.tests,
        "metrics": [_line_json(found, line) for line in found.lines],
        "clean": [_line_json(found, line) for line in found.clean_lines],
        "groups": {
            "metric": found.group_metric,
            "parts": [
                {
                    "group": line.group,
                    "n": line.n,
                    "models": [
                        {"model": run.parent_id, "difference": tested_json(tested)}
                        for run, tested in zip(found.runs, line.tested, strict=True)
                    ],
                }
                for line in found.groups
            ],
        },
        "left_out": [{"model": model.pk, "name": str(model), "why": why} for model, why in found.refused],
        "notes": found.notes,
    }


def _name(comparison: Comparison, place: int) -> str | None:
    against = comparison.against[place]
    return None if against is None else str(comparison.runs[against].parent)


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
