"""A rating with its interval in a row of the leaderboard, as SVG that says itself in words, and the axis above."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

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


def interval_picture(axis: Axis, rating: float, lower: float, upper: float) -> SafeString:
    """Return a dot with its interval, over the axis's marks."""
    return format_html(
        '<svg class="interval" viewBox="0 0 {} {}" role="img" aria-label="{} to {}">{}'
        '<line x1="{}" x2="{}" y1="11" y2="11" stroke="var(--accent)" stroke-width="2"/>'
        '<circle cx="{}" cy="11" r="4" fill="var(--accent)"/></svg>',
        WIDTH,
        HEIGHT,
        round(lower),
        round(upper),
        _marks(axis),
        axis.x(lower),
        axis.x(upper),
        axis.x(rating),
    )


def axis_picture(axis: Axis) -> SafeString:
    """Return the numbers at the marks, for the head of the column."""
    labels = format_html_join("", '<text x="{}" y="15" text-anchor="middle">{}</text>', _labels(axis))
    return format_html('<svg class="interval" viewBox="0 0 {} {}" aria-hidden="true">{}</svg>', WIDTH, HEIGHT, labels)


@lru_cache(maxsize=16)
def _marks(axis: Axis) -> SafeString:
    """Return the same for all rows of a table."""
    line = '<line x1="{0}" x2="{0}" y1="0" y2="22" stroke="var(--rule)"/>'
    return format_html_join("", line, ((axis.x(tick),) for tick in axis.ticks))


def _labels(axis: Axis) -> list[tuple[float, int]]:
    """Kept off the edges, where half of a label would be cut away."""
    return [(min(max(axis.x(tick), 16), WIDTH - 16), tick) for tick in axis.ticks]


def _round_step(rough: float) -> int:
    """Return the next of 1, 2, 5 × a power of ten, at least 1."""
    power = 10 ** math.floor(math.log10(max(rough, 1)))
    return int(next(power * k for k in (1, 2, 5, 10) if power * k >= rough or k == 10))
