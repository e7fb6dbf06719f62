"""Several curves in one picture, as SVG drawn on the server: it needs no script and follows the theme. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from training.runs.figures.curves import number

COLOURS = 8  # --line-1 to --line-8 in static/run.css; further lines are dashed
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 10, 26
_X_TITLE = 110  # room for the words at the end of the axis

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    label: str
    points: tuple[Point, ...]

    @property
    def last(self) -> float | None:
        return self.points[-1][1] if self.points else None


@dataclass(frozen=True)
class Frame:
    """The picture's size and the ranges that it shows."""

    width: int
    height: int
    x: tuple[float, float]
    y: tuple[float, float]
    is_log: bool

    def place(self, point: Point) -> str:
        low, high = self.y
        value = _logged(point[1]) if self.is_log else point[1]
        across = (point[0] - self.x[0]) / (self.x[1] - self.x[0])
        up = (value - low) / (high - low)
        x = _LEFT + across * (self.width - _LEFT - _RIGHT)
        y = self.height - _BOTTOM - up * (self.height - _TOP - _BOTTOM)
        return f"{x:.1f},{y:.1f}"


def picture(
    series: Sequence[Series],
    *,
    title: str,
    x_title: str,
    width: int = 900,
    height: int = 360,
    is_log: bool = False,
    pale: Sequence[Series] = (),
) -> str:
    """Return an <svg>; `pale` lies behind: the same lines before they were smoothed. Empty when there is nothing to
    draw."""
    points = [point for one in (*series, *pale) for point in one.points if not is_log or point[1] > 0]
    if not points:
        return ""
    frame = _frame(points, width, height, is_log)
    lines = [_line(one, i, frame, "pale") for i, one in enumerate(pale)]
    lines += [_line(one, i, frame, "") for i, one in enumerate(series)]
    names = ", ".join(one.label for one in series)
    return (
        f'<svg class="curves" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)} of {escape(names)}; the table below has the figures">'
        f"{_grid(frame)}{''.join(lines)}"
        f'<text x="{width - _RIGHT}" y="{height - 4}" text-anchor="end">{escape(x_title)}</text></svg>'
    )


def smoothed(series: Series, window: int) -> Series:
    """Return an exponential mean over about so many points, free of the pull towards its beginning."""
    keep, mean, weight = 1 - 2 / (window + 1), 0.0, 0.0
    points = []
    for x, y in series.points:
        mean, weight = keep * mean + (1 - keep) * y, keep * weight + (1 - keep)
        points.append((x, mean / weight))
    return Series(series.label, tuple(points))


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers in a range: 1, 2 or 5 times a power of ten apart."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    return [step * k for k in range(math.ceil(low / step), math.floor(high / step + 1e-9) + 1)]


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


def _grid(frame: Frame) -> str:
    parts = []
    for value in _y_ticks(frame):
        y = frame.place((frame.x[0], value)).split(",")[1]
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{frame.width - _RIGHT}" y1="{y}" y2="{y}"/>'
            f'<text x="{_LEFT - 6}" y="{y}" dy="4" text-anchor="end">{number(value)}</text>'
        )
    bottom = frame.height - 4
    middle = frame.y[0] if not frame.is_log else 10 ** frame.y[0]
    for value in ticks(*frame.x, about=6 if frame.width > 600 else 3):
        x = frame.place((value, middle)).split(",")[0]
        if float(x) > frame.width - _RIGHT - _X_TITLE:
            continue
        parts.append(f'<text x="{x}" y="{bottom}" text-anchor="middle">{number(value)}</text>')
    return "".join(parts)


def _y_ticks(frame: Frame) -> list[float]:
    low, high = frame.y
    if not frame.is_log:
        return ticks(low, high)
    if high - low < 1.5:  # less than a power or so: round numbers between
        return [value for value in ticks(10**low, 10**high) if value > 0]
    return [10.0**k for k in range(math.ceil(low), math.floor(high) + 1)]


def _line(series: Series, index: int, frame: Frame, name: str) -> str:
    shown = [point for point in series.points if not frame.is_log or point[1] > 0]
    if not shown:
        return ""
    colour, dash = index % COLOURS + 1, ' stroke-dasharray="6 4"' if index >= COLOURS else ""
    text = f"<title>{escape(series.label)}</title>"
    style = f'class="line {name}" style="--line: var(--line-{colour})"'
    if len(shown) == 1:
        x, y = frame.place(shown[0]).split(",")
        return f'<circle {style} cx="{x}" cy="{y}" r="4">{text}</circle>'
    return f'<polyline {style}{dash} points="{" ".join(map(frame.place, shown))}">{text}</polyline>'


def _logged(value: float) -> float:
    return math.log10(value) if value > 0 else -math.inf
