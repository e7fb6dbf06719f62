"""Draw the pictures of ratings: intervals under one another, a heat map of pairs, lines over time with their bands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from common.charts.axes import Scale, level_lines, number, scale, ticks
from common.charts.scene import Area, Dot, Line, Mark, Scene, Text, box, colour_of

LETTER = 6.5  # width of one in a picture


@dataclass(frozen=True)
class Interval:
    name: str
    value: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Series:
    """Hold one line of a chart. `points` are (x, value, lower, upper); x in any unit that the axis is given in."""

    name: str
    points: list[tuple[float, float, float, float]]


def interval_chart(rows: Sequence[Interval], title: str, unit: str = "rating", zero: float | None = None) -> Scene:
    """Return one line for each row, its name to the left. `zero` marks where nothing would differ."""
    left, right, top, line = 190, 30, 26, 24
    width, height = 720, top + line * len(rows) + 8
    bounds = [b for row in rows for b in (row.lower, row.upper, row.value) if math.isfinite(b)]
    low, high = (min(bounds), max(bounds)) if bounds else (0.0, 1.0)
    if zero is not None:
        low, high = min(low, zero), max(high, zero)
    pad = 0.04 * (high - low) or 1.0
    low, high = low - pad, high + pad
    x = scale(low, high, left, width - right)
    marks: list[Mark] = [Text((left - 10, 14), unit, "end")]
    for tick in ticks(low, high):
        marks += [Line(((x(tick), top - 6), (x(tick), height - 4))), Text((x(tick), 14), number(tick), "middle")]
    if zero is not None:
        marks.append(Line(((x(zero), top - 6), (x(zero), height - 4)), "soft", 1.0, True))
    for index, row in enumerate(rows):
        y = top + line * index + line / 2
        lower = x(row.lower) if math.isfinite(row.lower) else left
        upper = x(row.upper) if math.isfinite(row.upper) else width - right
        marks += [
            Text((left - 10, y + 4), shortened(row.name, 28), "end", "ink"),
            Line(((lower, y), (upper, y)), "accent", 2.0),
            Dot((x(row.value), y)),
        ]
    return Scene(width, height, title, marks)


def heat_map(names: Sequence[str], shares: Sequence[Sequence[float | None]], title: str) -> Scene:
    """Return what the model of the row scored against the model of the column: blue-green above a half, brown below."""
    left, cell = 170, max(22, min(54, 560 // max(len(names), 1)))
    top = 24
    width, height = left + cell * len(names) + 10, top + cell * len(names) + 10
    marks: list[Mark] = []
    for column in range(len(names)):
        marks.append(Text((left + cell * (column + 0.5), top - 8), str(column + 1), "middle"))
    for row, name in enumerate(names):
        y = top + cell * row
        marks.append(Text((left - 8, y + cell / 2 + 4), f"{row + 1}. {shortened(name, 22)}", "end", "ink"))
        for column, share in enumerate(shares[row]):
            x = left + cell * column
            if share is None:
                marks.append(Text((x + cell / 2, y + cell / 2 + 4), "·", "middle"))
                continue
            colour = "accent" if share >= 0.5 else "b"
            marks.append(
                Area(box(x + 1, y + 1, cell - 2, cell - 2), colour, round(0.06 + 0.74 * abs(2 * share - 1), 3))
            )
            if cell >= 30:
                strong = abs(2 * share - 1) > 0.6
                marks.append(
                    Text((x + cell / 2, y + cell / 2 + 4), f"{100 * share:.0f}", "middle", "paper" if strong else "ink")
                )
    return Scene(width, height, title, marks)


def line_chart(
    series: Sequence[Series], title: str, unit: str, x_ticks: Sequence[tuple[float, str]], zero: float | None = None
) -> Scene:
    """Return lines over one axis, each with its band; names stand at their ends, where no legend has to be looked
    up. Of `x_ticks` that would touch some are left out."""
    left, right, top, bottom, width, height = 56, 170, 16, 30, 860, 360
    xs = [p[0] for line in series for p in line.points]
    ys = [v for line in series for p in line.points for v in p[1:] if math.isfinite(v)]
    if not xs or not ys:
        return nothing("Nothing to draw yet.", title)
    if zero is not None:
        ys.append(zero)
    pad = 0.05 * (max(ys) - min(ys)) or 1.0
    low, high = min(ys) - pad, max(ys) + pad
    x, y = scale(min(xs), max(xs), left, width - right), scale(low, high, height - bottom, top)
    marks: list[Mark] = [Text((left - 8, top - 4), unit, "end")]
    marks += level_lines([(y(tick), number(tick)) for tick in ticks(low, high)], left, width - right)
    if zero is not None:
        marks.append(Line(((left, y(zero)), (width - right, y(zero))), "soft", 1.0, True))
    marks += [Text((x(at), height - 8), text, "middle") for at, text in _apart(x_ticks, x)]
    for index, line in enumerate(series):
        marks += _line(line, index, x, y)
    marks += _names(series, y, width - right + 10, top, height - bottom)
    return Scene(width, height, title, marks)


def _apart(labels: Sequence[tuple[float, str]], x: Scale) -> list[tuple[float, str]]:
    """Return the labels that do not touch, the last among them: it is that of the newest."""
    kept: list[tuple[float, str]] = []
    free = math.inf  # what is to the right of it is taken
    for at, text in reversed(labels):
        half = LETTER * len(text) / 2
        if x(at) + half <= free:
            kept.insert(0, (at, text))
            free = x(at) - half - LETTER
    return kept


def nothing(text: str, title: str = "") -> Scene:
    """Return a picture that says why there is none: a file that is blank says nothing."""
    return Scene(300, 60, title or text, [Text((20, 34), text)])


def _line(line: Series, index: int, x: Scale, y: Scale) -> list[Mark]:
    marks: list[Mark] = []
    points_rated = [p for p in line.points if math.isfinite(p[1])]
    banded = [p for p in points_rated if math.isfinite(p[2]) and math.isfinite(p[3])]
    if len(banded) > 1:
        upper = [(x(p[0]), y(p[3])) for p in banded]
        lower = [(x(p[0]), y(p[2])) for p in reversed(banded)]
        marks.append(Area((*upper, *lower), colour_of(index), 0.12))
    if len(points_rated) > 1:
        points = tuple((x(p[0]), y(p[1])) for p in points_rated)
        marks.append(Line(points, colour_of(index), 2.0, index >= 8))
    return marks + [
        Dot((x(p[0]), y(p[1])), colour_of(index), 2.5 if len(points_rated) > 1 else 4) for p in points_rated[-1:]
    ]


def _names(series: Sequence[Series], y: Scale, x: float, top: float, bottom: float) -> list[Mark]:
    """Return the names beside the last point of each line, moved apart where they would overlap."""
    ends = sorted(
        (y(points_rated[-1][1]), index, line.name)
        for index, line in enumerate(series)
        if (points_rated := [p for p in line.points if math.isfinite(p[1])])
    )
    step = min(15.0, (bottom - top) / max(len(ends), 1))
    heights = [end for end, _, _ in ends]
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + step)
    over = max(0.0, heights[-1] - bottom) if heights else 0.0
    return [
        Text((x, height - over + 4), shortened(name, 22), "start", colour_of(index))
        for height, (_, index, name) in zip(heights, ends, strict=True)
    ]


def day_ticks(moments: Sequence[datetime], about: int = 6) -> list[tuple[float, str]]:
    """Return a few of the moments as labels; the hour where all lie within two days."""
    if not moments:
        return []
    first, last = moments[0].timestamp(), moments[-1].timestamp()
    form = "%H:%M" if last - first < 2 * 86_400 else "%-d %b"
    step = max(1, math.ceil(len(moments) / about))
    chosen = list(moments[::step])
    return [(moment.timestamp(), moment.strftime(form)) for moment in chosen]


def shortened(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
