"""Show the price of alignment: one panel for a lineage, with a small picture for each figure and the table behind
them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from annotate.core.errors import Refused
from annotate.core.page_access import allows, refused_page
from annotate.core.permissions import can
from annotate.language_models.model_access import find_model
from common.charts.axes import Scale, scale
from common.charts.scene import Dot, Line, Mark, Scene, Svg, Text, svg
from evaluation.core.csv_files import cell as cell_text
from evaluation.measures import alignment_tax as tax
from evaluation.measures.alignment_tax import Cell, Panel, Row
from evaluation.measures.paired_comparison import Tested
from evaluation.measures.present import difference_formats, figure_formats
from evaluation.measures.present.figure_formats import Shown

WIDTH, HEIGHT, TOP, BOTTOM, SIDE = 220, 104, 20, 24, 26
LETTERS = 10.5
COLUMNS = (
    *("task", "measure", "metric", "stage", "model", "run", "value", "lower", "upper", "n"),
    *(f"{to}_{what}" for to in ("to_parent", "to_base") for what in ("value", "lower", "upper", "p_holm", "verdict")),
)


@dataclass(frozen=True)
class ShownCell:
    cell: Cell
    shown: Shown | None
    changes: list[ShownChange]


@dataclass(frozen=True)
class ShownChange:
    """Show one change. `to` is parent or base; `mark` is worse, better or undecided."""

    to: str
    text: str
    interval: str
    p: str
    mark: str
    sentence: str


@dataclass(frozen=True)
class Point:
    """A stage in a picture; nothing where it was not measured."""

    shown: Shown | None
    is_worse: bool


@dataclass(frozen=True)
class ShownRow:
    row: Row
    head: Shown
    cells: list[ShownCell]
    picture: Svg


@allows(get="read")
def page(request: HttpRequest, pk: int) -> HttpResponse:
    model, project = find_model(request, pk)
    panel = tax.panel(model, project)
    rows = [shown for row in panel.rows if (shown := _row(row, panel))]
    context = {
        "project": project,
        "model": model,
        "panel": panel,
        "rows": rows,
        "by_task": _by_task(rows),
        "summaries": summaries(panel),
        "ratings": ratings(panel),
        "waiting": [one for one in panel.missing if one.is_under_way],
        "missing": [one for one in panel.missing if not one.is_under_way],
        "can_research": can(request.user, "research", project),
    }
    return render(request, "evaluation/measures/tax.html", context)


@allows(post="account, read")
def measure_missing(request: HttpRequest, pk: int) -> HttpResponse:
    model, project = find_model(request, pk)
    if not request.user.is_authenticated:
        raise Http404("Sign in first.")
    try:
        queued, refused = tax.measure_missing(model=model, project=project, by=request.user)
    except Refused as error:
        return refused_page(request, error, project=project)
    for text in refused:
        messages.error(request, text)
    if queued:
        messages.success(request, f"{len(queued)} evaluation{'s wait' if len(queued) > 1 else ' waits'} for a worker.")
    return redirect(f"{reverse('tax', args=[model.pk])}?project={project.slug}")


@allows(get="read")
def download(request: HttpRequest, pk: int, format: str) -> HttpResponse:
    if format not in ("csv", "json"):
        raise Http404("CSV or JSON.")
    model, project = find_model(request, pk)
    panel = tax.panel(model, project)
    headers = {"Content-Disposition": f'attachment; filename="tax-of-model-{model.pk}.{format}"'}
    if format == "json":
        return JsonResponse(tax.as_json(panel), headers=headers, json_dumps_params={"ensure_ascii": False})
    return HttpResponse(_csv(panel), content_type="text/csv; charset=utf-8", headers=headers)


# In words


def summaries(panel: Panel) -> list[str]:
    """Return for each stage after the base one sentence: what it lost against the base, and what it gained."""
    sentences = []
    for index, stage in enumerate(panel.stages[1:], 1):
        tested = [(row, _to_base(row.cells[index], index)) for row in panel.rows]
        known_rows = [(row, t) for row, t in tested if t is not None]
        if not known_rows:
            continue
        worse = [_named(row, t) for row, t in known_rows if t.verdict == "worse"]
        better = [_named(row, t) for row, t in known_rows if t.verdict == "better"]
        parts = [
            f"worse beyond doubt in {_list(worse)}" if worse else "nowhere worse beyond doubt",
            f"better beyond doubt in {_list(better)}" if better else "nowhere better beyond doubt",
        ]
        undecided = len(known_rows) - len(worse) - len(better)
        rest = f"; {undecided} of {len(known_rows)} undecided" if undecided else ""
        sentences.append(f"{stage.model.name} against {panel.stages[0].model.name}: {', '.join(parts)}{rest}.")
    return sentences


def _to_base(cell: Cell, index: int) -> Tested | None:
    return cell.to_parent if index == 1 else cell.to_base


def _named(row: Row, tested: Tested) -> str:
    change = difference_formats.shown_difference(tested.difference)
    return f"{row.metric} on {row.task.name} ({plus(change)})"


def _list(names: list[str], most: int = 6) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def plus(change: Shown) -> str:
    return f"+{change.text}" if change.value > 0 else change.text


# As pictures


def _row(row: Row, panel: Panel) -> ShownRow | None:
    cells = [_cell(cell, index) for index, cell in enumerate(row.cells)]
    head = next((cell.shown for cell in cells if cell.shown), None)
    if head is None:
        return None
    points = [Point(c.shown, any(one.to == "base" and one.mark == "worse" for one in c.changes)) for c in cells]
    return ShownRow(row, head, cells, picture(f"{row.metric} on {row.task.name}", points, panel))


def ratings(panel: Panel) -> Svg | None:
    """Return the arena beside the price: the same picture of the ratings; None where nobody has voted."""
    standings = [stage.standing for stage in panel.stages]
    points = [
        Point(figure_formats.shown("rating", s.rating, s.lower, s.upper, n=s.battles, higher_is_better=True), False)
        if s
        else Point(None, False)
        for s in standings
    ]
    return picture("arena rating", points, panel) if any(standings) else None


def _cell(cell: Cell, index: int) -> ShownCell:
    f = cell.figure
    shown = (
        figure_formats.shown(f.metric, f.value, f.lower, f.upper, n=f.n, higher_is_better=f.higher_is_better)
        if f
        else None
    )
    to_parent = "base" if index == 1 else "parent"
    changes = [_change(to, t) for to, t in ((to_parent, cell.to_parent), ("base", cell.to_base)) if t]
    return ShownCell(cell, shown, changes)


def _change(to: str, tested: Tested) -> ShownChange:
    change = difference_formats.shown_difference(tested.difference)
    return ShownChange(
        to, plus(change), change.interval, difference_formats.in_words_of_p(tested.adjusted), tested.verdict,
        difference_formats.says(tested),
    )  # fmt: skip


def picture(title: str, points: Sequence[Point], panel: Panel) -> Svg:
    """Return value and interval at each stage, from left to right; a stage that is worse than the base is a hollow
    mark."""
    shown = [(index, point, point.shown) for index, point in enumerate(points) if point.shown is not None]
    ends = [end for _, _, s in shown for end in (s.value, s.lower, s.upper) if end is not None]
    x = scale(0, len(points) - 1, SIDE, WIDTH - SIDE)
    y = scale(min(ends), max(ends), HEIGHT - BOTTOM - 4, TOP + 4)
    marks: list[Mark] = [Line(tuple((x(index), y(s.value)) for index, _, s in shown), "rule", 1.5)]
    for index, point, s in shown:
        marks += _mark(x(index), y, s, point.is_worse)
    for index, stage in enumerate(panel.stages):
        marks.append(Text((x(index), HEIGHT - 6), _short(stage.model.stage), "middle", size=LETTERS))
    text = ", ".join(f"{panel.stages[index].model.name} {s.text}" for index, _, s in shown)
    return svg(Scene(WIDTH, HEIGHT, f"{title}: {text}", marks), "tax")


def _mark(x: float, y: Scale, shown: Shown, is_worse: bool) -> list[Mark]:
    colour, marks = "bad" if is_worse else "accent", list[Mark]()
    if shown.lower is not None and shown.upper is not None:
        marks.append(Line(((x, y(shown.lower)), (x, y(shown.upper))), colour, 2.0))
    top = y(shown.upper if shown.upper is not None else shown.value)
    number = Text((x, max(10, top - 5)), shown.text, "middle", "bad" if is_worse else "ink", LETTERS)
    return [*marks, Dot((x, y(shown.value)), colour, is_hollow=is_worse), number]


def _short(stage: str) -> str:
    return stage if len(stage) <= 11 else f"{stage[:10]}…"


def _by_task(rows: Iterable[ShownRow]) -> list[tuple[str, list[ShownRow]]]:
    shown_rows: dict[str, list[ShownRow]] = {}
    for row in rows:
        shown_rows.setdefault(f"{row.row.task.name} · {row.row.task.measure}", []).append(row)
    return list(shown_rows.items())


def _csv(panel: Panel) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in panel.rows:
        for stage, cell in zip(panel.stages, row.cells, strict=True):
            if (figure := cell.figure) is None:
                continue
            writer.writerow(
                [
                    *map(cell_text, (row.task.name, row.task.measure, row.metric, stage.model.stage, stage.model.name)),
                    cell.run.pk if cell.run else "",
                    *(figure.value, figure.lower, figure.upper, figure.n),
                    *_changed(cell.to_parent),
                    *_changed(cell.to_base),
                ]
            )
    return text.getvalue()


def _changed(tested: Tested | None) -> list[object]:
    if tested is None:
        return [""] * 5
    d = tested.difference
    return [d.value, d.lower, d.upper, tested.adjusted, tested.verdict]
