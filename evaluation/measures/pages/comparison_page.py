"""The page that sets models beside each other: metrics with paired differences, and the items that make them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import render
from django.utils.safestring import SafeString

from annotate.core.page_access import in_project
from annotate.models import Project
from evaluation.measures import comparison_json, measured_tasks, paired_comparison, paired_differences
from evaluation.measures import item_store as items
from evaluation.measures.comparison_request import MOST_MODELS, ComparisonQuery, read, row_ids
from evaluation.measures.measured_tasks import PARENT
from evaluation.measures.paired_comparison import Comparison, Line, Tested
from evaluation.measures.present import figure_formats, shown_items
from evaluation.measures.present.comparison_csv import as_csv
from evaluation.measures.present.difference_formats import (
    in_points,
    in_words_of_p,
    picture,
    says,
    scale_around_zero,
    shown_difference,
)
from evaluation.measures.present.figure_formats import Shown
from training.models import Run

PER_PAGE = 20


@dataclass(frozen=True)
class Cell:
    """A model's figure, and its difference to that of the model `against` as a page writes it."""

    run: Run
    shown: Shown | None
    tested: Tested | None
    difference: Shown | None
    picture: str
    against: str

    @property
    def sentence(self) -> str:
        return says(self.tested) if self.tested else ""

    @property
    def plus(self) -> str:
        return "+" if self.tested and self.tested.difference.value > 0 else ""

    @property
    def p(self) -> str:
        return in_words_of_p(self.tested.difference.p) if self.tested else ""

    @property
    def adjusted(self) -> str:
        return in_words_of_p(self.tested.adjusted) if self.tested else ""


@in_project(get="read")
def page(request: HttpRequest, project: Project) -> HttpResponse:
    comparison_query = read(request.GET, project)
    comparison = _compared(comparison_query) if comparison_query.task and len(comparison_query.runs) > 1 else None
    query = request.GET.copy()
    context = {
        "project": project,
        "asked": comparison_query,
        "chosen": {run.pk for run in comparison_query.runs},
        "found": comparison,
        "query": query.urlencode(),
        "tables": _tables(comparison) if comparison else [],
        "groups": group_rows(comparison) if comparison else [],
        "group_query": _without(query, "metric"),
        "pairs": [
            (comparison.runs[a], run)
            for a, run in zip(comparison.against, comparison.runs, strict=True)
            if a is not None
            and all(shown_items.may_read_figures(request.user, one) for one in (comparison.runs[a], run))
        ]
        if comparison
        else [],
        "most": MOST_MODELS,
        "parent": PARENT,
    }
    return render(request, "evaluation/measures/compare.html", context)


@in_project(get="read")
def download(request: HttpRequest, project: Project, format: str) -> HttpResponse:
    if format not in ("csv", "json"):
        raise Http404("CSV or JSON.")
    comparison = _requested_comparison(request, project)
    headers = {"Content-Disposition": f'attachment; filename="{project.slug}-comparison.{format}"'}
    if format == "json":
        return JsonResponse(
            comparison_json.as_json(comparison), headers=headers, json_dumps_params={"ensure_ascii": False}
        )
    return HttpResponse(as_csv(comparison), content_type="text/csv; charset=utf-8", headers=headers)


@in_project(get="read")
def item_differences(request: HttpRequest, project: Project) -> HttpResponse:
    """Show the items of two runs under one metric, those first that move the difference most."""
    first, second = (_run(project, request.GET.get(name, "")) for name in ("first", "second"))
    if not all(shown_items.may_read_figures(request.user, run) for run in (first, second)):
        raise PermissionDenied(shown_items.BLIND)
    refused = paired_differences.pair(first, second)
    metrics = list(refused.all)
    metric = request.GET.get("metric", "")
    metric = metric if metric in metrics else (metrics[0] if metrics else "")
    ids, pulls = comparison_json.item_pairs(first, second, metric) if metric else ([], np.empty(0))
    shown = Paginator(range(len(ids)), PER_PAGE).get_page(request.GET.get("page"))
    texts = all(shown_items.may_read_texts(request.user, run) for run in (first, second))
    query = request.GET.copy()
    query.pop("page", None)
    context = {
        "project": project,
        "first": first,
        "second": second,
        "metrics": metrics,
        "metric": metric,
        "refused": refused.refused,
        "difference": shown_difference(refused.all[metric]) if metric else None,
        "moving": int((pulls != 0).sum()),
        "for_second": int((pulls > 0).sum() if figure_formats.direction(metric) is not False else (pulls < 0).sum()),
        "total": len(ids),
        "page": shown,
        "query": query.urlencode(),
        "texts": texts,
        "items": list(_item_pairs(first, second, metric, ids, pulls, shown.object_list, texts)) if ids else [],
    }
    return render(request, "evaluation/measures/compare_items.html", context)


# What is asked


def _run(project: Project, pk: str) -> Run:
    numbers = row_ids([pk])
    run = next((run for run in measured_tasks.measured(project) if run.pk in numbers), None)
    if run is None:
        raise Http404("No such evaluation in this project.")
    return run


def _requested_comparison(request: HttpRequest, project: Project) -> Comparison:
    query = read(request.GET, project)
    if query.task is None or len(query.runs) < 2:
        raise Http404("Choose a task and at least two models that were measured on it.")
    return _compared(query)


def _compared(query: ComparisonQuery) -> Comparison:
    assert query.task is not None
    return paired_comparison.compare(query.task, query.runs, query.to, query.metric)


# How it is shown


@dataclass(frozen=True)
class GroupCell:
    text: str
    interval: str
    picture: SafeString | str
    verdict: str
    sentence: str


@dataclass(frozen=True)
class Table:
    title: str
    n: int
    rows: list[tuple[str, Shown, list[Cell]]]


def _tables(comparison: Comparison) -> list[Table]:
    tables = [Table("", comparison.n, _rows(comparison, comparison.lines))]
    if comparison.clean_lines:
        tables.append(
            Table("Without items seen in training", comparison.n_clean, _rows(comparison, comparison.clean_lines))
        )
    return tables


def _rows(comparison: Comparison, lines: list[Line]) -> list[tuple[str, Shown, list[Cell]]]:
    rows = []
    for line in lines:
        scale = scale_around_zero([t.difference for t in line.tested if t])
        cells = [_cell(comparison, line, index, scale) for index in range(len(comparison.runs))]
        head = next((cell.shown for cell in cells if cell.shown), None)
        if head is not None:
            rows.append((line.metric, head, cells))
    return rows


def group_rows(comparison: Comparison) -> list[tuple[str, int, list[GroupCell | None]]]:
    """Return for each part of the task its difference in every model that is set against another."""
    scale = scale_around_zero([t.difference for line in comparison.groups for t in line.tested if t])
    return [
        (
            line.group,
            line.n,
            [
                _group_cell(tested, scale)
                for tested, a in zip(line.tested, comparison.against, strict=True)
                if a is not None
            ],
        )
        for line in comparison.groups
    ]


def _group_cell(tested: Tested | None, scale: figure_formats.Scale | None) -> GroupCell | None:
    if tested is None:
        return None
    shown = shown_difference(tested.difference)
    plus = "+" if tested.difference.value > 0 else ""
    return GroupCell(plus + shown.text, shown.interval, picture(scale, shown), tested.verdict, says(tested))


def _without(query: QueryDict, name: str) -> list[tuple[str, str]]:
    return [(key, value) for key, values in query.lists() for value in values if key != name]


def _cell(comparison: Comparison, line: Line, index: int, scale: figure_formats.Scale | None) -> Cell:
    figure, tested, reference = line.figures[index], line.tested[index], comparison.against[index]
    difference = shown_difference(tested.difference) if tested else None
    return Cell(
        comparison.runs[index],
        figure_formats.of_result(line.metric, asdict(figure)) if figure else None,
        tested,
        difference,
        picture(scale, difference) if difference else "",
        str(comparison.runs[reference].parent) if reference is not None else "",
    )


@dataclass(frozen=True)
class ItemShown:
    """One item under both models."""

    id: str
    group: str
    pull: str
    favours_second: bool
    moves: bool
    content: shown_items.Item
    sides: list[tuple[shown_items.Item, Run, str]]


def _item_pairs(
    first: Run, second: Run, metric: str, ids: list[str], pulls: Any, places: Any, texts: bool
) -> Iterator[ItemShown]:
    wanted_ids = [ids[i] for i in places]
    first_rows, second_rows = comparison_json.rows_of(first, wanted_ids), comparison_json.rows_of(second, wanted_ids)
    indices = [index for run in (first, second) if (index := items.index_of(run.path))]
    for i in places:
        one, other, moved = first_rows[ids[i]], second_rows[ids[i]], float(pulls[i])
        # The place is of no use here: the two files may hold the item at different ones.
        shown = [shown_items.shown(row, 0, index, texts) for row, index in zip((one, other), indices, strict=True)]
        direction = figure_formats.direction(metric)
        yield ItemShown(
            ids[i],
            one.get("group", ""),
            in_points(figure_formats.shown(metric, abs(moved), None, None, n=1, higher_is_better=None).text),
            (moved > 0) == (direction is not False),
            moved != 0,
            shown[0],
            [(shown[0], first, _value(metric, one)), (shown[1], second, _value(metric, other))],
        )


def _value(metric: str, row: items.Row) -> str:
    value = items.value_of(metric, row["counts"][metric])
    return "" if value is None else figure_formats.shown(metric, value, None, None, n=1, higher_is_better=None).text
