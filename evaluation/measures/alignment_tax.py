"""Measure what alignment costs: a lineage from its base on, and how each figure changed from stage to stage, item by
item.

"Finetuned models lose quality with respect to perplexity and BLEU"; whether they did, and by how much, is a paired
difference to the parent and to the base, on items that both met. What was measured on other items is not subtracted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from annotate.core.errors import Refused
from annotate.models import LanguageModel, Project, User
from evaluation.leaderboard.leaderboard_rows import Standing, standings
from evaluation.leaderboard.snapshots import current, default_annotator_kind
from evaluation.measures import comparison_json, evaluations, measured_tasks, paired_comparison, paired_differences
from evaluation.measures.measured_tasks import Task
from evaluation.measures.paired_comparison import Tested
from evaluation.metrics import definitions as families
from evaluation.metrics.figure_intervals import Figure
from evaluation.metrics.paired_tests import Difference
from training.models import Run


@dataclass(frozen=True)
class Stage:
    """A model of the lineage with its place in the arena, where it has one."""

    model: LanguageModel
    standing: Standing | None


@dataclass(frozen=True)
class Cell:
    """One figure at one stage. `reason` says why it is not compared with its parent or the base, where it is not."""

    figure: Figure | None = None
    run: Run | None = None
    to_parent: Tested | None = None
    to_base: Tested | None = None
    reason: str = ""


@dataclass(frozen=True)
class Row:
    """One metric on one task, with a cell for each stage."""

    task: Task
    metric: str
    higher_is_better: bool | None
    cells: list[Cell]


@dataclass(frozen=True)
class Missing:
    """A stage that was not measured on what others were, or on other items; `like` is the run to repeat for it."""

    model: LanguageModel
    task: Task
    like: Run
    is_under_way: bool


@dataclass(frozen=True)
class Panel:
    stages: list[Stage]
    rows: list[Row]
    missing: list[Missing]
    tests: int  # differences that the p values are corrected for
    judge: str


@dataclass(frozen=True)
class Change:
    """A metric of a model less that of its parent on the same items; lower and upper are None with too few items."""

    value: float
    lower: float | None
    upper: float | None
    n: int
    higher_is_better: bool | None
    p: float


def change(
    model: LanguageModel, parent: LanguageModel, task: str, metric: str, project: Project | None = None
) -> Change | None:
    """Return None where the two were not both measured alike, on the same items of that task by that metric."""
    projects = [project] if project is not None else Project.objects.filter(evaluations__model=model).distinct()
    for each in projects:
        every = measured_tasks.measured(each)
        for task_ in (t for t in measured_tasks.tasks(every) if t.name == task):
            runs = _by_model(every, task_, [model, parent])
            if len(runs) < 2 or measured_tasks.settings_that_differ(list(runs.values())):
                continue
            if tested := paired_differences.pair(runs[parent.pk], runs[model.pk]).all.get(metric):
                better = families.find(metric).higher_is_better
                return Change(tested.value, tested.lower, tested.upper, tested.n, better, tested.p)
    return None


def chain(model: LanguageModel) -> list[LanguageModel]:
    """Return the policies that it comes from, the base first, and itself."""
    models, visited = [model], {model.pk}
    while (parent := models[-1].parent) is not None and parent.kind == model.kind and parent.pk not in visited:
        visited.add(parent.pk)
        models.append(parent)
    return models[::-1]


def rows(model: LanguageModel, project: Project) -> list[Row]:
    return panel(model, project).rows


def panel(model: LanguageModel, project: Project) -> Panel:
    models = chain(model)
    judge = default_annotator_kind(project)
    standing_by_model = {row.model.pk: row for row in standings(current(project=project, judge=judge))}
    # Fluency is set against the parent in each run, by a yardstick that is another one at each stage.
    every = [
        run for run in measured_tasks.measured(project) if run.parent in models and run.config["measure"] != "fluency"
    ]
    tasks = measured_tasks.tasks(every)
    drafts = [draft for task in tasks for draft in _drafts(task, _by_model(every, task, models), models)]
    differences = [d for draft in drafts for cell in draft.cells for d in (cell.to_parent, cell.to_base) if d]
    tested = iter(paired_comparison.tested_at_once(differences))
    return Panel(
        [Stage(one, standing_by_model.get(one.pk)) for one in models],
        [_tested_row(draft, tested) for draft in drafts],
        _missing(project, every, tasks, models),
        len(differences),
        judge,
    )


def _by_model(every: list[Run], task: Task, models: list[LanguageModel]) -> dict[int, Run]:
    runs = measured_tasks.of_task(every, task, [one.pk for one in models])
    return {run.parent_id or 0: run for run in measured_tasks.one_each(runs)}


@dataclass(frozen=True)
class _DraftCell:
    figure: Figure | None
    run: Run | None
    to_parent: Difference | None
    to_base: Difference | None
    reason: str


@dataclass(frozen=True)
class _Draft:
    """A row whose tests have not been corrected for all the others yet."""

    task: Task
    metric: str
    cells: list[_DraftCell]


def _drafts(task: Task, runs: dict[int, Run], models: list[LanguageModel]) -> Iterator[_Draft]:
    names = dict.fromkeys(
        name for run in runs.values() for name in run.result["metrics"] if paired_differences.is_known(name)
    )
    for name in names:
        yield _Draft(task, name, [_cell(name, runs, models, index) for index in range(len(models))])


def _cell(name: str, runs: dict[int, Run], models: list[LanguageModel], index: int) -> _DraftCell:
    run = runs.get(models[index].pk)
    if run is None:
        return _DraftCell(None, None, None, None, "")
    reason, differences = "", {}
    for other in dict.fromkeys((index - 1, 0)):
        if 0 <= other < index and (earlier := runs.get(models[other].pk)) is not None:
            if unlike := " ".join(measured_tasks.settings_that_differ([earlier, run])):
                reason = reason or unlike
                continue
            pair = paired_differences.pair(earlier, run)
            differences[other] = pair.all.get(name)
            reason = reason or pair.refused
    parent = differences.get(index - 1)
    base = differences.get(0) if index > 1 else None
    return _DraftCell(paired_comparison.figure_of(run, name), run, parent, base, reason)


def _tested_row(draft: _Draft, tested: Iterator[Tested]) -> Row:
    cells = [
        Cell(c.figure, c.run, next(tested) if c.to_parent else None, next(tested) if c.to_base else None, c.reason)
        for c in draft.cells
    ]
    return Row(draft.task, draft.metric, families.find(draft.metric).higher_is_better, cells)


# What is missing


def _missing(project: Project, every: list[Run], tasks: list[Task], models: list[LanguageModel]) -> list[Missing]:
    """Return the stages without a run on the items of the task's newest run, measured as it was.

    The newest, and not those that most stages met: where no dataset is behind it, items change as answers come, and a
    new run can only meet the new ones.
    """
    waiting = list(project.runs.unfinished().filter(kind="evaluate", parent__in=models))
    missing = []
    for task in tasks:
        runs = measured_tasks.of_task(every, task)
        newest = runs[0]
        measured_pks = {run.parent_id for run in runs if _is_as(run, newest)}
        for model in models:
            if model.pk not in measured_pks:
                under_way = any(_is_like(run, newest) and run.parent_id == model.pk for run in waiting)
                missing.append(Missing(model, task, newest, under_way))
    return missing


def _is_as(run: Run, other: Run) -> bool:
    return run.result["items_hash"] == other.result["items_hash"] and measured_tasks.way_of(
        run
    ) == measured_tasks.way_of(other)


def _is_like(run: Run, other: Run) -> bool:
    return (run.config, run.other_dataset_id) == (other.config, other.other_dataset_id)


def measure_missing(*, model: LanguageModel, project: Project, by: User) -> tuple[list[Run], list[str]]:
    """Queue what is missing, each like the run that the others were measured by; return the runs, and what was
    refused."""
    queued: list[Run] = []
    refused = []
    for one in panel(model, project).missing:
        if one.is_under_way:
            continue
        try:
            queued += evaluations.queue_alike(
                project=project,
                models=[one.model],
                name=f"{one.task.name[:40]}, {one.task.measure} of {one.model.name}"[:120],
                by=by,
                other_dataset=one.like.other_dataset,
                reward_model=one.like.reward_model,
                config=one.like.config,
                seed=one.like.seed,
            )
        except Refused as error:
            if error.status == 403:
                raise
            refused.append(f"{one.task.name} of {one.model.name}: {' '.join(map(str, error.errors.values()))}")
    return queued, refused


def as_json(panel_: Panel) -> dict[str, Any]:
    """Return the panel for programs."""
    return {
        "stages": [
            {
                "model": stage.model.pk,
                "name": stage.model.name,
                "stage": stage.model.stage,
                "rating": stage.standing
                and {"value": stage.standing.rating, "lower": stage.standing.lower, "upper": stage.standing.upper},
            }
            for stage in panel_.stages
        ],
        "judge": panel_.judge,
        "tests": panel_.tests,
        "rows": [
            {
                "task": row.task.name,
                "measure": row.task.measure,
                "metric": row.metric,
                "higher_is_better": row.higher_is_better,
                "stages": [_cell_json(cell) for cell in row.cells],
            }
            for row in panel_.rows
        ],
        "missing": [{"model": one.model.pk, "task": one.task.name} for one in panel_.missing],
    }


def _cell_json(cell: Cell) -> dict[str, Any] | None:
    if cell.figure is None:
        return None
    return {
        "value": cell.figure.value,
        "lower": cell.figure.lower,
        "upper": cell.figure.upper,
        "n": cell.figure.n,
        "run": cell.run.pk if cell.run else None,
        "to_parent": comparison_json.tested_json(cell.to_parent),
        "to_base": comparison_json.tested_json(cell.to_base),
        "not_compared": cell.reason,
    }
