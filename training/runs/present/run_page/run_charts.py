"""The figures of a run as its page draws them: curves, points, tables, and pictures for whoever has no script."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from training.models import Metric, Run
from training.runs.figures import charts, curves
from training.runs.ordering import pauses
from training.runs.present.run_page.run_tabs import View

Row = tuple[int, int, int, dict[str, Any]]  # sequence, id, step, values
_POINTS = 2000  # more than a screen has pixels


@dataclass
class Figures:
    """Hold what a page knows of the metrics: their first and last values, and the rows that it was given.

    Read once for a page; a live one then adds what is new, and never reads again what it has shown.
    """

    rows: list[Row] = field(default_factory=list)
    first: Row | None = None
    last: Row | None = None
    firsts: dict[str, float] = field(default_factory=dict)  # the first value of each figure
    lasts: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, run: Run, until: int | None = None) -> Figures:
        """Return all rows, or those until this sequence number."""
        metrics = run.metrics.all() if until is None else run.metrics.filter(sequence__lte=until)
        return cls().add(list(_values(metrics)))

    @classmethod
    def ends(cls, run: Run) -> Figures:
        """Return the first row and the last alone, for tabs that draw nothing."""
        rows = list(_values(run.metrics.all())[:1])
        last = run.metrics.order_by("-sequence").values_list("sequence", "pk", "step", "values").first()
        return cls().add(rows + ([last] if last and last != rows[-1] else []))

    def add(self, rows: list[Row]) -> Figures:
        """Return the figures with these rows, which came after the others."""
        if not rows:
            return self.without_rows()
        firsts = curves.last_values(row[-1] for row in reversed(rows)) | self.firsts
        lasts = self.lasts | curves.last_values(row[-1] for row in rows)
        return Figures(rows, self.first or rows[0], rows[-1], firsts, lasts)

    def without_rows(self) -> Figures:
        return replace(self, rows=[])

    @property
    def names(self) -> set[str]:
        return set(self.lasts)

    @property
    def outer_rows(self) -> list[tuple[int, dict[str, Any]]]:
        """Return (step, values) of the first row and of the last."""
        rows = [row[2:] for row in (self.first, self.last) if row is not None]
        return rows[:1] if self.first == self.last else rows

    def drawn(self, config: dict[str, Any]) -> list[curves.Curve]:
        return curves.curves_of(self.names, config, self.first[2:] if self.first else None)

    def table(self, chosen: list[curves.Curve]) -> list[tuple[int, list[str]]]:
        """Return the rows that have any of these figures."""
        names = {curve.name for curve in chosen}
        return curves.table([row[2:] for row in self.rows if names & row[-1].keys()], chosen)


@dataclass(frozen=True)
class Picture:
    """One curve drawn by the server; below two points there is no picture, and `words` say what there is."""

    title: str
    svg: str
    words: str


def context(run: Run, view: View, figures: Figures) -> dict[str, Any]:
    """Return the curves of the charts tab, or on the overview the first of them alone."""
    drawn = figures.drawn(pauses.config_now(run))
    main, more = [c for c in drawn if c.is_main], [c for c in drawn if not c.is_main]
    if view.tab != "charts":
        main, more = main[:1], []
    shown = [*main, *more]
    rows = points(figures.rows, {curve.name for curve in shown})
    return {
        "main": main,
        "more": more,
        "main_rows": figures.table(main) if view.tab == "charts" else [],
        "more_rows": figures.table(more),
        "is_thinned": len(figures.rows) > 120,
        "curve_data": {"points": rows, "curves": as_json(shown), "smooth": view.smooth, "log": view.is_log},
        "windows": charts.WINDOWS,
    }


def pictures(run: Run, view: View, shown: dict[str, Any]) -> list[Picture]:
    """Return a picture of each curve that is shown at first, for whoever has no JavaScript; of the others a table is
    below."""
    return [_picture(run, view, curve, shown["curve_data"]["points"]) for curve in shown["main"]]


def as_json(drawn_curves: list[curves.Curve]) -> list[dict[str, Any]]:
    """Return what static/training/runs/run.js draws."""
    return [
        {
            "name": c.name,
            "title": c.title,
            "main": c.is_main,
            "unit": c.unit,
            "of": c.value_unit,
            "share": c.is_share,
            "dots": c.is_dots,
            "lines": [asdict(line) for line in c.lines],
        }
        for c in drawn_curves
    ]


def points(metrics: list[Row], names: Collection[str] | None = None) -> list[list[Any]]:
    """Return [sequence, id, step, values]: the id tells a row from the one that a resumed recipe wrote in its place.

    With `names` only these values, and the rows that have any of them; the last row comes always, since it says where
    a page goes on.
    """
    rows = list(metrics)
    if names is not None:
        chosen = [(*row[:3], {name: value for name, value in row[3].items() if name in names}) for row in rows]
        rows = [row for row in chosen if row[3] or row is chosen[-1]]
    return [list(row) for row in curves.thinned(rows, _POINTS)]


def new_rows(run_id: int, sequence: int, row_id: int) -> tuple[list[Row], bool]:
    """Return what came after a row that the page has; nothing, and True, when that row has been taken back."""
    rows = _values(Metric.objects.filter(run=run_id))
    if sequence and not rows.filter(sequence=sequence, pk=row_id).exists():
        return [], True
    return list(rows.filter(sequence__gt=sequence)), False


def _values(metrics: Any) -> Any:
    return metrics.order_by("sequence").values_list("sequence", "pk", "step", "values")


def _picture(run: Run, view: View, curve: curves.Curve, rows: list[Any]) -> Picture:
    places = [(row[2], row[3].get(curve.name)) for row in rows]
    measured = [(float(step), float(y)) for step, y in places if curves.is_number(y)]
    if curve.is_dots:
        measured = [(float(i), y) for i, (_, y) in enumerate(measured, 1)]
    if len(measured) < 2:
        return Picture(curve.title, "", one_point(measured, curve.unit))
    line = charts.Series(run.name, tuple(measured), curve.is_dots)
    is_smooth = view.smooth and not curve.is_dots
    svg = charts.picture(
        [charts.smoothed(line, view.smooth) if is_smooth else line],
        title=curve.title,
        x_title=curve.unit.capitalize(),
        width=640,
        height=220,
        is_log=view.is_log and not curve.is_share,
        pale=[line] if is_smooth else [],
        is_share=curve.is_share,
    )
    return Picture(curve.title, svg, "")


def one_point(measured: list[tuple[float, float]], unit: str) -> str:
    """Say what there is where a line would show nothing."""
    if not measured:
        return "No values yet."
    [(x, y)] = measured
    return f"One point: {curves.number(y)} at {unit} {curves.number(x)}."
