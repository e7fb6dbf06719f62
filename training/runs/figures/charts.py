"""Draw several curves in one picture, as SVG on the server: it needs no script and follows the theme. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from common.charts.axes import Scale, level_lines, scale, ticks
from common.charts.scene import LINE_COLOURS, Dot, Line, Mark, Scene, Text, colour_of, svg
from common.whole_numbers import whole_number
from training.runs.figures.curves import number

_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 10, 26
_X_TITLE = 110  # room for the words at the end of the axis

Point = tuple[float, float]
WINDOWS = (0, 5, 20, 100)  # points that a smoothed curve averages over; 0 does not smooth


@dataclass(frozen=True)
class Series:
    label: str
    points: tuple[Point, ...]
    is_dots: bool = False  # nothing lies between the points

    @property
    def last(self) -> float | None:
        return self.points[-1][1] if self.points else None


@dataclass(frozen=True)
class Frame:
    """The picture's size and the ranges that it shows; `y` is in powers of ten if `is_log`."""

    width: int
    height: int
    x: tuple[float, float]
    y: tuple[float, float]
    is_log: bool

    @property
    def across(self) -> Scale:
        return scale(*self.x, _LEFT, self.width - _RIGHT)

    @property
    def up(self) -> Scale:
        y = scale(*self.y, self.height - _BOTTOM, _TOP)
        return (lambda value: y(_logged(value))) if self.is_log else y


def picture(
    series: Sequence[Series],
    *,
    title: str,
    x_title: str,
    width: int = 900,
    height: int = 360,
    is_log: bool = False,
    pale: Sequence[Series] = (),
    is_share: bool = False,
) -> str:
    """Return an <svg>; `pale` lies behind: the same lines before they were smoothed. The axis of a share goes from 0
    to 1. Empty when there is nothing to draw."""
    points = [point for one in (*series, *pale) for point in one.points if not is_log or point[1] > 0]
    if not points:
        return ""
    frame = _frame(points, width, height, is_log)
    if is_share and not is_log:
        frame = replace(frame, y=(min(0.0, *(y for _, y in points)), max(1.0, *(y for _, y in points))))
    marks = _grid(frame)
    for index, one in enumerate(pale):
        marks += _line(one, index, frame, is_pale=True)
    for index, one in enumerate(series):
        marks += _line(one, index, frame)
    marks.append(Text((width - _RIGHT, height - 4), x_title, "end"))
    names = ", ".join(one.label for one in series)
    return svg(Scene(width, height, f"{title} of {names}; the table below has the figures", marks), "curves")


def window_of(text: str) -> int:
    """Return the window that an address asks for; what is none of WINDOWS does not smooth."""
    window = whole_number(text, 0)
    return window if window in WINDOWS else 0


def smoothed(series: Series, window: int) -> Series:
    """Return an exponential mean over about so many points, free of the pull towards its beginning."""
    keep, mean, weight = 1 - 2 / (window + 1), 0.0, 0.0
    points = []
    for x, y in series.points:
        mean, weight = keep * mean + (1 - keep) * y, keep * weight + (1 - keep)
        points.append((x, mean / weight))
    return Series(series.label, tuple(points), series.is_dots)


def _frame(points: Sequence[Point], width: int, height: int, is_log: bool) -> Frame:
    xs = [x for x, _ in points]
    ys = [_logged(y) if is_log else y for _, y in points]
    return Frame(width, height, _widened(min(xs), max(xs), 0), _widened(min(ys), max(ys), 0.05), is_log)


def _widened(low: float, high: float, share: float) -> tuple[float, float]:
    if low == high:
        room = abs(low) / 2 or 0.5
        return low - room, high + room
    room = (high - low) * share
    return low - room, high + room


def _grid(frame: Frame) -> list[Mark]:
    right = frame.width - _RIGHT
    marks = level_lines([(frame.up(value), number(value)) for value in _y_ticks(frame)], _LEFT, right, gap=6)
    for value in ticks(*frame.x, about=6 if frame.width > 600 else 3):
        x = frame.across(value)
        if x <= right - _X_TITLE:
            marks.append(Text((x, frame.height - 4), number(value), "middle"))
    return marks


def _y_ticks(frame: Frame) -> list[float]:
    low, high = frame.y
    if not frame.is_log:
        return ticks(low, high, about=5)
    if high - low < 1.5:  # less than a power or so: round numbers between
        return [value for value in ticks(10**low, 10**high, about=5) if value > 0]
    return [10.0**k for k in range(math.ceil(low), math.floor(high) + 1)]


def _line(series: Series, index: int, frame: Frame, *, is_pale: bool = False) -> list[Mark]:
    """Return a line; past the eighth line colours repeat, and lines are dashed."""
    shown = [(frame.across(x), frame.up(y)) for x, y in series.points if not frame.is_log or y > 0]
    colour, opacity = colour_of(index), 0.3 if is_pale else 1.0
    if len(shown) == 1 or series.is_dots:
        return [Dot(point, colour, opacity=opacity, title=series.label) for point in shown]
    width = 1.0 if is_pale else 2.0
    return [Line(tuple(shown), colour, width, index >= LINE_COLOURS, opacity, series.label)] if shown else []


def _logged(value: float) -> float:
    return math.log10(value) if value > 0 else -math.inf
