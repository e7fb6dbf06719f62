"""Draw the figures of several runs over each other, and list in what the runs differ."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.db.models import Exists, OuterRef

from annotate.models import Project
from common.charts.scene import LINE_COLOURS
from common.whole_numbers import row_ids
from training.core.kinds import kind_title
from training.models import Metric, Run
from training.runs.figures import charts, curves, differences
from training.runs.figures.charts import Series
from training.runs.present.compared_samples import compared_samples
from training.runs.present.run_details import RELATED

MOST_RUNS = 12
AXES = {"step": "Step", "tokens": "Tokens", "seconds": "Seconds of work"}
_POINTS = 600
_SMALL_POINTS = 200
_MULTIPLES = 6  # pictures shown at first
_LINES = 60
_OFFERED = 100

Timed = tuple[int, datetime, dict[str, Any]]  # step, time, values
Placed = tuple[float, dict[str, Any]]  # place on the horizontal axis, values


@dataclass(frozen=True)
class Choice:
    """The choices of an address; wrong ones are as if they were not there."""

    runs: tuple[int, ...]
    metric: str = ""
    x: str = "step"
    smooth: int = 0
    is_log: bool = False

    @classmethod
    def of(cls, query: Any) -> Choice:
        numbers = row_ids(query.getlist("run"))
        return cls(
            tuple(dict.fromkeys(numbers))[:MOST_RUNS],
            query.get("metric", ""),
            query.get("x") if query.get("x") in AXES else "step",
            charts.window_of(query.get("smooth", "")),
            bool(query.get("log")),
        )


@dataclass(frozen=True)
class Multiple:
    """One curve of all the runs, small; `address` shows it large, with its table."""

    title: str
    address: str
    svg: str
    words: str  # where there is nothing to draw


@dataclass(frozen=True)
class Legend:
    """One run: its line, and the figure at its end and at its best in either direction."""

    run: Run
    title: str
    colour: int
    is_dashed: bool
    last: str
    least: str
    most: str


def context(project: Project, choice: Choice) -> dict[str, Any]:
    run_by_id = project.runs.select_related(*RELATED).in_bulk(choice.runs)
    runs = [run_by_id[number] for number in choice.runs if number in run_by_id]
    rows = {run.pk: _placed(run, _rows(run), choice.x) for run in runs}
    known_curves = curves.curves_of(curves.names_in(values for r in rows.values() for _, values in r), {})
    curve_by_name = {curve.name: curve for curve in known_curves}
    metric = choice.metric if choice.metric in curve_by_name else ""
    raw = [_series(run, rows[run.pk], curve_by_name.get(metric)) for run in runs]
    shown = _smoothed(raw, choice)
    multiples = [] if metric else [_multiple(runs, rows, curve, choice) for curve in _shared(known_curves, rows)]
    return {
        "project": project,
        "choice": choice,
        "runs": runs,
        "metric": metric,
        "title": curve_by_name[metric].title if metric else "",
        "metrics": known_curves,
        "axes": AXES.items(),
        "windows": charts.WINDOWS,
        "wide": _drawn(curve_by_name[metric], raw, choice) if metric else "",
        "narrow": _drawn(curve_by_name[metric], raw, choice, width=370, height=280) if metric else "",
        "multiples": multiples[:_MULTIPLES],
        "more_multiples": multiples[_MULTIPLES:],
        "samples": compared_samples(runs) if len(runs) > 1 else [],
        "legend": [_legend(run, one, i) for i, (run, one) in enumerate(zip(runs, raw, strict=True))],
        "table": _table(shown),
        "choices": differences.choices(runs) if len(runs) > 1 else [],
        "figures": differences.figures(runs) if len(runs) > 1 else [],
        "data": differences.data(runs) if len(runs) > 1 else [],
        "offered": project.runs.filter(Exists(Metric.objects.filter(run=OuterRef("pk")))).order_by("-pk")[:_OFFERED],
        "most_runs": MOST_RUNS,
    }


def _rows(run: Run) -> list[Timed]:
    return list(run.metrics.order_by("sequence").values_list("step", "time", "values"))


def _shared(known_curves: list[curves.Curve], rows: dict[int, list[Placed]]) -> list[curves.Curve]:
    """Return the curves that at least two of the runs have, those that most have first; all where none is shared."""
    names_by_run = [curves.names_in(values for _, values in run_rows) for run_rows in rows.values()]
    counts = {curve.name: sum(curve.name in names for names in names_by_run) for curve in known_curves}
    shared = [curve for curve in known_curves if counts[curve.name] > 1]
    return sorted(shared, key=lambda curve: (not curve.is_main, -counts[curve.name])) or known_curves


def _multiple(runs: Sequence[Run], rows: dict[int, list[Placed]], curve: curves.Curve, choice: Choice) -> Multiple:
    raw = [_series(run, rows[run.pk], curve, _SMALL_POINTS) for run in runs]
    query = [("run", run.pk) for run in runs] + [("metric", curve.name), ("x", choice.x), ("smooth", choice.smooth)]
    address = "?" + urlencode([*query, *([("log", 1)] if choice.is_log else [])])
    if not any(len(one.points) > 1 for one in raw):
        values = [f"{one.label}: {curves.number(one.last)}" for one in raw if one.points]
        return Multiple(curve.title, address, "", "One point each. " + "; ".join(values) + ".")
    return Multiple(curve.title, address, _drawn(curve, raw, choice, width=380, height=210), "")


def _drawn(curve: curves.Curve, raw: list[Series], choice: Choice, **size: int) -> str:
    return charts.picture(
        _smoothed(raw, choice),
        title=curve.title,
        x_title=AXES[choice.x],
        is_log=choice.is_log and not curve.is_share,
        is_share=curve.is_share,
        pale=raw if choice.smooth and not curve.is_dots else (),
        **size,
    )


def _smoothed(raw: list[Series], choice: Choice) -> list[Series]:
    """Return the lines as they are drawn; points with nothing between them are never smoothed."""
    return [charts.smoothed(one, choice.smooth) if choice.smooth and not one.is_dots else one for one in raw]


def _series(run: Run, rows: Sequence[Placed], curve: curves.Curve | None, most: int = _POINTS) -> Series:
    name, is_dots = (curve.name, curve.is_dots) if curve else ("", False)
    points = [(x, float(values[name])) for x, values in rows if curves.is_number(values.get(name))]
    if is_dots:  # candidates are numbered among themselves
        points = [(float(i), y) for i, (_, y) in enumerate(points, 1)]
    return Series(f"{run.pk} {run.name}", tuple(curves.evenly(points, most)), is_dots)


def _placed(run: Run, rows: Sequence[Timed], x: str) -> list[Placed]:
    """Return the rows at their places on the axis."""
    all_values = [values for _, _, values in rows]
    if x == "step":
        return [(float(step), values) for step, _, values in rows]
    seconds = _seconds_of_work(run, [time for _, time, _ in rows])
    places = seconds if x == "seconds" else _tokens(seconds, all_values)
    return list(zip(places, all_values, strict=True))


def _seconds_of_work(run: Run, times: Sequence[datetime]) -> list[float]:
    """Return the seconds since the run began, without the time between its attempts, in which nobody worked on it."""
    attempts = list(run.attempts.all())
    if not attempts:
        return [(time - times[0]).total_seconds() for time in times]
    starts = [attempt.started_at for attempt in attempts]
    before = [0.0]
    for attempt, following in itertools.pairwise(attempts):
        end = attempt.ended_at or following.started_at
        before.append(before[-1] + (end - attempt.started_at).total_seconds())
    seconds = []
    for time in times:
        index = max(0, bisect_right(starts, time) - 1)
        seconds.append(before[index] + max(0.0, (time - starts[index]).total_seconds()))
    return seconds


def _tokens(seconds: Sequence[float], rows: Sequence[dict[str, Any]]) -> list[float]:
    """Return the tokens as the recipe counted them, else computed from its tokens a second."""
    count, before, tokens = 0.0, 0.0, []
    for now, values in zip(seconds, rows, strict=True):
        if curves.is_number(recorded := values.get("tokens")):
            count = float(recorded)
        elif curves.is_number(pace := values.get("tokens_per_second")):
            count += pace * max(0.0, now - before)
        before = now
        tokens.append(count)
    return tokens


def _legend(run: Run, series: Series, index: int) -> Legend:
    values = [y for _, y in series.points]
    last, least, most = (values[-1], min(values), max(values)) if values else (None, None, None)
    return Legend(
        run,
        kind_title(run),
        index % LINE_COLOURS + 1,
        index >= LINE_COLOURS,
        *(curves.number(v) for v in (last, least, most)),
    )


def _table(series: Sequence[Series]) -> list[tuple[str, list[str]]]:
    """Return what every run had reached at each of at most 60 places."""
    xs = curves.evenly(sorted({x for one in series for x, _ in one.points}), _LINES)
    return [(curves.number(x), [_by(one, x) for one in series]) for x in xs]


def _by(series: Series, x: float) -> str:
    xs = [x_value for x_value, _ in series.points]
    index = bisect_right(xs, x) - 1
    return curves.number(series.points[index][1]) if index >= 0 and x <= xs[-1] else ""
