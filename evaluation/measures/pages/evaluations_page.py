"""Show all figures of a project's models: for each task a table of models by metrics, each with its interval."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache

from annotate.core.page_access import in_project
from annotate.core.permissions import can
from annotate.models import LanguageModel, Project
from common.whole_numbers import row_id
from evaluation.core.csv_files import cell
from evaluation.measures import evaluations
from evaluation.measures.evaluations import Chosen
from evaluation.measures.present import figure_formats
from evaluation.measures.present.figure_formats import Shown
from evaluation.measures.present.group_table import Groups, groups_of
from evaluation.measures.present.shown_items import is_blind
from evaluation.models import Evaluation
from training.models import Run

MOST_FAILED = 6
MOST_COMPARED = 12  # in one table of differences
OF_ITS_RUN = "From the runs of the models"  # figures of a run that measures its own model, on what it held out


@dataclass(frozen=True)
class Cell:
    evaluation: Evaluation
    shown: Shown
    clean: Shown | None
    picture: SafeString | str


@dataclass(frozen=True)
class Row:
    """One model's figures on one task. `items` tells rows apart that were measured on different items: a, b, …"""

    model: LanguageModel
    cells: list[Cell | None]
    runs: list[Run]
    items: str
    n: int
    contaminated: int

    @property
    def signatures(self) -> list[str]:
        return list(dict.fromkeys(cell.evaluation.signature for cell in self.cells if cell))


@dataclass(frozen=True)
class Table:
    task: str
    title: str
    heads: list[tuple[str, Shown]]  # what stands above a column, and a figure of it for the direction
    rows: list[Row]
    differ: bool  # in what they were measured on

    @property
    def runs(self) -> str:
        """Return ids for the page that compares runs item by item: the newest of each row; "" where there is one."""
        run_ids = [str(row.runs[0].pk) for row in self.rows if row.runs and row.runs[0].kind == "evaluate"]
        return ",".join(run_ids[:MOST_COMPARED]) if len(run_ids) > 1 else ""


@dataclass
class TableQuery:
    """The choices of the page's form; unknown ones are ignored."""

    task: str = ""
    model: LanguageModel | None = None
    line: LanguageModel | None = None
    clean: bool = False
    models: list[int] | None = field(default=None)


@never_cache
@in_project(get="read")
def page(request: HttpRequest, project: Project) -> HttpResponse:
    query = _table_query(request, project)
    rows = list(evaluations.standing(project, Chosen(task=query.task), query.models))
    every = project.evaluations.filter(group="")
    under_way = list(project.runs.unfinished().filter(kind="evaluate").order_by("pk"))
    if request.GET.get("part") == "under-way":  # asked again by an open page
        return render(
            request, "evaluation/measures/evaluations.html#under-way", {"under_way": under_way, "project": project}
        )
    may_review = can(request.user, "review", project)
    context = {
        "project": project,
        "asked": query,
        "tables": tables(rows),
        "with_items": {
            e.run.pk for e in rows if e.run and e.run.kind == "evaluate" and (may_review or not is_blind(e.run))
        },
        "grouped": set(project.evaluations.exclude(group="").order_by().values_list("task", flat=True)),
        "groups": _groups(project, query, request.GET.get("metric", "")),
        "tasks": sorted(set(every.order_by().values_list("task", flat=True))),
        "models": _models(every),
        "has_any": every.exists(),
        "has_clean": any(_differs(row) for row in rows),
        "under_way": under_way,
        "failed": _failed(project),
        "may_start": can(request.user, "research", project),
        "query": request.GET.urlencode(),
    }
    return render(request, "evaluation/measures/evaluations.html", context)


@never_cache
@in_project(get="read")
def table(request: HttpRequest, project: Project) -> HttpResponse:
    """Return the figures that the page shows, groups included, as CSV."""
    query = _table_query(request, project)
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for e in evaluations.standing(project, Chosen(task=query.task, groups=True), query.models):
        clean = e.clean or {}
        opponent = e.opponent.name if e.opponent else ""
        texts = [cell(text) for text in (e.task, e.group, e.model.name, e.metric, opponent)]
        ends = (e.value, e.standard_error, e.lower, e.upper, e.n, e.higher_is_better)
        clean_figures = (clean.get(name) for name in ("value", "lower", "upper", "n"))
        writer.writerow([*texts, *ends, *clean_figures, e.run_id, e.items_hash, cell(e.signature)])
    headers = {"Content-Disposition": f'attachment; filename="{project.slug}-evaluations.csv"'}
    return HttpResponse(buffer.getvalue(), content_type="text/csv; charset=utf-8", headers=headers)


COLUMNS = (
    *("task", "group", "model", "metric", "opponent", "value", "standard_error", "lower", "upper", "n"),
    *("higher_is_better", "clean_value", "clean_lower", "clean_upper", "clean_n", "run", "items_hash", "signature"),
)


def _table_query(request: HttpRequest, project: Project) -> TableQuery:
    parameters = request.GET
    query = TableQuery(task=parameters.get("task", "").replace("\x00", ""), clean="clean" in parameters)
    query.model, query.line = (_model(parameters.get(name, ""), project) for name in ("model", "line"))
    if query.model is not None:
        query.models = [query.model.pk]
    elif query.line is not None:
        query.models = [model.pk for model in evaluations.line_of(query.line)]
    return query


def _groups(project: Project, query: TableQuery, metric: str) -> Groups | None:
    """Return the groups of the chosen task: of all tasks together they would be too many to read."""
    if not query.task:
        return None
    return groups_of(evaluations.standing(project, Chosen(task=query.task, groups=True), query.models), metric)


def _failed(project: Project) -> list[Run]:
    """Return what failed of late and was not measured since: its figures are missing from the tables."""
    since = timezone.now() - timedelta(days=2)
    lately = project.runs.filter(kind="evaluate", created_at__gte=since).order_by("-pk").select_related("parent")
    runs: dict[tuple[Any, ...], Run] = {}
    for run in lately[:200]:
        runs.setdefault((run.parent_id, run.other_dataset_id, run.config.get("measure")), run)
    return [run for run in runs.values() if run.state == Run.State.FAILED][:MOST_FAILED]


def _model(pk: str, project: Project) -> LanguageModel | None:
    measured = LanguageModel.objects.filter(evaluations__project=project).distinct()
    return measured.filter(pk=row_id(pk)).first()


def _models(every: Any) -> list[LanguageModel]:
    return list(LanguageModel.objects.filter(pk__in=every.values("model")).order_by("pk"))


def tables(evaluations_: Iterable[Evaluation]) -> list[Table]:
    """Return one table for each task, in the order of their names; figures without a task come last."""
    by_task: dict[str, list[Evaluation]] = defaultdict(list)
    for evaluation in evaluations_:
        by_task[evaluation.task].append(evaluation)
    return [_table(task, by_task[task]) for task in sorted(by_task, key=lambda task: (not task, task.casefold()))]


def _table(task: str, evaluations: list[Evaluation]) -> Table:
    columns: dict[tuple[str, int | None], list[Shown]] = {}
    placed: dict[int, dict[tuple[str, int | None], Evaluation]] = defaultdict(dict)
    for evaluation in evaluations:
        column = (evaluation.metric, evaluation.opponent_id)
        columns.setdefault(column, []).append(figure_formats.of_evaluation(evaluation))
        placed[evaluation.model_id][column] = evaluation
    scales = {column: figure_formats.scale_over(figures) for column, figures in columns.items()}
    letters = _letters(evaluations)
    rows = [_row(cells, list(columns), scales, letters) for _, cells in sorted(placed.items())]
    opponents = {e.opponent_id: e.opponent for e in evaluations}
    named = opponents if len(opponents) > 1 else {}
    heads = [(_head(metric, named.get(pk)), figures[0]) for (metric, pk), figures in columns.items()]
    return Table(task, task or OF_ITS_RUN, heads, rows, len(set(letters.values())) > 1)


def _row(
    cells: dict[tuple[str, int | None], Evaluation],
    columns: Sequence[tuple[str, int | None]],
    scales: dict[tuple[str, int | None], figure_formats.Scale | None],
    letters: dict[str, str],
) -> Row:
    newest_first = sorted(cells.values(), key=lambda e: -e.pk)
    runs = list({e.run.pk: e.run for e in newest_first if e.run is not None}.values())
    last = newest_first[0]
    return Row(
        model=last.model,
        cells=[_cell(cells[column], scales[column]) if column in cells else None for column in columns],
        runs=runs,
        items=letters.get(last.items_hash, ""),
        n=last.n,
        contaminated=int((last.run.result.get("contaminated") if last.run else 0) or 0),
    )


def _cell(evaluation: Evaluation, scale: figure_formats.Scale | None) -> Cell:
    shown = figure_formats.of_evaluation(evaluation)
    clean = figure_formats.of_result(evaluation.metric, evaluation.clean) if _differs(evaluation) else None
    return Cell(evaluation, shown, clean, figure_formats.picture(scale, shown))


def _differs(evaluation: Evaluation) -> bool:
    clean = evaluation.clean or {}
    return clean.get("value") is not None and clean.get("n") != evaluation.n


def _letters(evaluations: list[Evaluation]) -> dict[str, str]:
    """Return letters by the hash of the items: a, b, … in the order of their first use."""
    hashes = list(dict.fromkeys(e.items_hash for e in evaluations if e.items_hash))
    return {one: chr(ord("a") + index) if index < 26 else str(index + 1) for index, one in enumerate(hashes)}


def _head(metric: str, opponent: LanguageModel | None) -> str:
    return f"{metric} against {opponent.name}" if opponent else metric
