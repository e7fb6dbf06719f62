"""Draw points with their 95 % intervals, as an SVG that needs no script: calibration, and accuracy by annotations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from common.charts.axes import level_lines, scale
from common.charts.scene import Dot, Line, Scene, Svg, Text, svg
from common.texts import percent

_WIDTH, _HEIGHT = 420, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 18, 10, 44


@dataclass(frozen=True)
class Point:
    x: float
    value: float
    lower: float
    upper: float


def calibration(points: Sequence[Point]) -> Svg:
    """Return how often right (up) by how sure (across), from one half to one; on the diagonal the two agree."""
    ticks = [(p / 10, percent(p / 10)) for p in range(5, 11)]
    heights = [(p / 5, percent(p / 5)) for p in range(6)]
    named = "Accuracy by confidence; the table below has the figures"
    return _picture(points, (0.5, 1.0), (0.0, 1.0), ticks, heights, named, "confidence", diagonal=True)


def learning_curve(points: Sequence[Point], *, chance: float) -> Svg:
    """Return a held-out figure by the number of annotations learnt from, each double the last."""
    shown = [Point(math.log2(p.x), p.value, p.lower, p.upper) for p in points]
    low = min([chance, *(p.lower for p in points)])
    high = max(p.upper for p in points)
    room = (high - low) * 0.05 or 0.1
    heights = [(t, f"{t:.2f}") for t in (low + (high - low) * i / 4 for i in range(5))]
    ticks = [(at.x, f"{p.x:,.0f}") for at, p in zip(shown, points, strict=True)]
    reach = (shown[0].x - 0.3, shown[-1].x + 0.3)
    named = "Held-out figures by the number of annotations; the table below has them"
    return _picture(shown, reach, (low - room, high + room), ticks, heights, named, "annotations in training")


def _picture(
    points: Sequence[Point], across: tuple[float, float], up: tuple[float, float], ticks: list[tuple[float, str]],
    heights: list[tuple[float, str]], named: str, title: str, *, diagonal: bool = False,
) -> Svg:  # fmt: skip
    right = _WIDTH - _RIGHT
    x, y = scale(*across, _LEFT, right), scale(*up, _HEIGHT - _BOTTOM, _TOP)
    marks = level_lines([(y(height), word) for height, word in heights], _LEFT, right)
    marks += [Text((x(at), _HEIGHT - 26), word, "middle") for at, word in ticks]
    if diagonal:
        marks.append(Line(tuple((x(value), y(value)) for value in across), "soft", is_dashed=True))
    marks.append(Line(tuple((x(p.x), y(p.value)) for p in points), "accent", 1.5, opacity=0.45))
    for point in points:
        at = x(point.x)
        marks.append(Line(((at, y(point.lower)), (at, y(point.upper))), "accent", 2.0))
        marks.append(Dot((at, y(point.value))))
    marks.append(Text(((_LEFT + right) / 2, _HEIGHT - 6), title, "middle"))
    return svg(Scene(_WIDTH, _HEIGHT, named, marks), "dots")
