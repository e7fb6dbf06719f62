"""Points with their 95 % intervals, as an SVG that needs no script: calibration, and accuracy by annotations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

_WIDTH, _HEIGHT = 420, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 18, 10, 44


@dataclass(frozen=True)
class Point:
    x: float
    value: float
    lower: float
    upper: float


def calibration(points: Sequence[Point]) -> SafeString:
    """Return how often right (up) by how sure (across), from one half to one; on the diagonal the two agree."""
    ticks = [(p / 10, f"{p / 10:.0%}") for p in range(5, 11)]
    heights = [(p / 5, f"{p / 5:.0%}") for p in range(6)]
    named = "How often it is right by how sure it is: the table below has the figures"
    return _picture(points, (0.5, 1.0), (0.0, 1.0), ticks, heights, named, "how sure it is", diagonal=True)


def learning_curve(points: Sequence[Point], *, chance: float) -> SafeString:
    """Return a held-out figure by the number of annotations learnt from, each double the last."""
    shown = [Point(math.log2(p.x), p.value, p.lower, p.upper) for p in points]
    low = min([chance, *(p.lower for p in points)])
    high = max(p.upper for p in points)
    room = (high - low) * 0.05 or 0.1
    heights = [(t, f"{t:.2f}") for t in (low + (high - low) * i / 4 for i in range(5))]
    ticks = [(at.x, f"{p.x:,.0f}") for at, p in zip(shown, points, strict=True)]
    reach = (shown[0].x - 0.3, shown[-1].x + 0.3)
    named = "Held-out figures by the number of annotations: the table below has them"
    return _picture(shown, reach, (low - room, high + room), ticks, heights, named, "judgements learnt from")


def _picture(
    points: Sequence[Point], across: tuple[float, float], up: tuple[float, float], ticks: list[tuple[float, str]],
    heights: list[tuple[float, str]], named: str, title: str, *, diagonal: bool = False,
) -> SafeString:  # fmt: skip
    def x(value: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * (value - across[0]) / (across[1] - across[0]), 1)

    def y(value: float) -> float:
        return round(_TOP + (_HEIGHT - _TOP - _BOTTOM) * (up[1] - value) / (up[1] - up[0]), 1)

    grid = '<line class="grid" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/><text text-anchor="end" x="{3}" y="{4}">{5}</text>'
    bar = '<line class="interval" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/><circle cx="{0}" cy="{3}" r="4"/>'
    ideal = (x(across[0]), y(across[0]), x(across[1]), y(across[1]))
    return format_html(
        '<svg class="dots" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}<polyline points="{}"/>{}'
        '<text text-anchor="middle" x="{}" y="{}">{}</text></svg>',
        _WIDTH,
        _HEIGHT,
        named,
        format_html_join("", grid, ((_LEFT, _WIDTH - _RIGHT, y(h), _LEFT - 8, y(h) + 4, word) for h, word in heights)),
        format_html_join(
            "", '<text text-anchor="middle" x="{}" y="{}">{}</text>', ((x(t), _HEIGHT - 26, w) for t, w in ticks)
        ),
        format_html('<line class="ideal" x1="{}" y1="{}" x2="{}" y2="{}"/>', *ideal) if diagonal else "",
        " ".join(f"{x(p.x)},{y(p.value)}" for p in points),
        format_html_join("", bar, ((x(p.x), y(p.lower), y(p.upper), y(p.value)) for p in points)),
        (_LEFT + _WIDTH - _RIGHT) / 2,
        _HEIGHT - 6,
        title,
    )
