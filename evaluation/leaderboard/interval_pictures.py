"""A rating with its interval in a row of the leaderboard, as SVG that says itself in words, and the axis above."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from common.charts.scene import Dot, Line, Mark, Scene, Svg, Text, svg

WIDTH, HEIGHT, PAD = 340, 22, 8


@dataclass(frozen=True)
class Axis:
    """A range of ratings laid over the picture's width, with a few round numbers to mark on it."""

    low: float
    high: float

    def x(self, rating: float) -> float:
        return round(PAD + (WIDTH - 2 * PAD) * (rating - self.low) / (self.high - self.low), 1)

    @property
    def ticks(self) -> list[int]:
        step = _round_step((self.high - self.low) / 3)
        first = math.ceil(self.low / step)
        return [step * k for k in range(first, math.floor(self.high / step) + 1)]


def axis_over(intervals: Sequence[tuple[float, float]]) -> Axis:
    """Return an axis that holds all (lower, upper), and at least 100 points so that no small gap looks like a large
    one."""
    low, high = min(lower for lower, _ in intervals), max(upper for _, upper in intervals)
    short = max(0.0, 100 - (high - low)) / 2
    return Axis(low - short, high + short)


def interval_picture(axis: Axis, rating: float, lower: float, upper: float) -> Svg:
    """Return a dot with its interval, over the axis's marks."""
    middle = HEIGHT / 2
    bar = Line(((axis.x(lower), middle), (axis.x(upper), middle)), "accent", 2.0)
    marks: list[Mark] = [Line(((axis.x(tick), 0), (axis.x(tick), HEIGHT))) for tick in axis.ticks]
    dot = Dot((axis.x(rating), middle))
    return svg(Scene(WIDTH, HEIGHT, f"{round(lower)} to {round(upper)}", [*marks, bar, dot]), "interval")


def axis_picture(axis: Axis) -> Svg:
    """Return the numbers at the marks, for the head of the column."""
    return svg(Scene(WIDTH, HEIGHT, "", [Text((x, 15), str(tick), "middle") for x, tick in _labels(axis)]), "interval")


def _labels(axis: Axis) -> list[tuple[float, int]]:
    """Return labels of the axis, kept off the edges, where half of a label would be cut away."""
    return [(min(max(axis.x(tick), 16), WIDTH - 16), tick) for tick in axis.ticks]


def _round_step(rough: float) -> int:
    """Return the next of 1, 2, 5 × a power of ten, at least 1."""
    power = 10 ** math.floor(math.log10(max(rough, 1)))
    return int(next(power * k for k in (1, 2, 5, 10) if power * k >= rough or k == 10))
