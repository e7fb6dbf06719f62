"""The reward model's opinion against people's, over the reviews of a run, as an SVG that needs no script."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from common.distributions import ROUNDED_Z95
from common.intervals import wilson

_WIDTH, _HEIGHT = 640, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 16, 12, 30
_LABELS = 8
Place = Callable[[float], float]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Mark:
    """One review: the reward model's probability for the policy's answers, and people's share of `pairs` judged."""

    step: int
    predicted: float
    people: float
    pairs: int


def picture(marks: Sequence[Mark]) -> SafeString:
    """Two lines over steps: what the reward model expects, and what people said with its 95 % interval."""
    first, last = marks[0].step, marks[-1].step
    inner = _WIDTH - _LEFT - _RIGHT

    def x(step: float) -> float:
        return round(_LEFT + (inner / 2 if first == last else inner * (step - first) / (last - first)), 1)

    def y(share: float) -> float:
        return round(_TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - share), 1)

    heard = [mark for mark in marks if mark.pairs]
    return format_html(
        '<svg class="human-review" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}{}</svg>',
        _WIDTH,
        _HEIGHT,
        "What the reward model expects and what people said, review by review: the table below has the figures",
        _axes(marks, x, y),
        format_html_join("", '<line class="people" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>', _bars(heard, x, y)),
        _curve("expected", [(x(m.step), y(m.predicted)) for m in marks]),
        _curve("people", [(x(m.step), y(m.people)) for m in heard]),
    )


def _axes(marks: Sequence[Mark], x: Place, y: Place) -> SafeString:
    shares = [(_LEFT, _WIDTH - _RIGHT, y(s), _LEFT - 8, y(s) + 4, f"{s:.0%}") for s in (0.0, 0.5, 1.0)]
    steps = [(x(m.step), _HEIGHT - 8, m.step) for m in evenly(marks, _LABELS)]
    line = '<line class="grid" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/><text text-anchor="end" x="{3}" y="{4}">{5}</text>'
    return format_html(
        "{}{}",
        format_html_join("", line, shares),
        format_html_join("", '<text text-anchor="middle" x="{}" y="{}">{}</text>', steps),
    )


def _bars(heard: Sequence[Mark], x: Place, y: Place) -> Iterator[tuple[float, float, float]]:
    for mark in heard:
        low, high = wilson(round(mark.people * mark.pairs), mark.pairs, ROUNDED_Z95)
        yield x(mark.step), y(low), y(high)


def _curve(name: str, points: Sequence[tuple[float, float]]) -> SafeString:
    path = " ".join(f"{a},{b}" for a, b in points)
    dots = format_html_join("", '<circle class="{0}" cx="{1}" cy="{2}" r="3.5"/>', ((name, a, b) for a, b in points))
    return format_html('<polyline class="{}" points="{}"/>{}', name, path, dots)


def evenly(items: Sequence[Item], limit: int) -> list[Item]:
    """At most `limit` of them, evenly spaced, the first and the last always among them."""
    if len(items) <= limit:
        return list(items)
    return [items[round(i * (len(items) - 1) / (limit - 1))] for i in range(limit)]
