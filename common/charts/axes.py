"""Lay out axes of pictures: values to places, round numbers for ticks, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from common.charts.scene import FONT_SIZE, Line, Mark, Text

Scale = Callable[[float], float]


def scale(low: float, high: float, start: float, end: float) -> Scale:
    """Return a straight map of [low, high] onto [start, end]; of no width, everything lies in the middle."""
    if high <= low:
        return lambda _: (start + end) / 2
    return lambda value: start + (end - start) * (value - low) / (high - low)


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Return round numbers within [low, high]: steps of 1, 2 or 5 times a power of ten."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low] if math.isfinite(low) else []
    rough = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough * 0.999)  # a range just too long needs no more
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def number(value: float) -> str:
    """Return 1500, 0.25, −40, 2.5e−4: as few signs as tell it, with a true minus."""
    text = f"{value:.10g}"
    if 0 < abs(value) < 1e-3:
        mantissa, _, exponent = f"{value:.9e}".partition("e")
        text = f"{float(mantissa):.10g}e{int(exponent)}"
    return text.replace("-", "−")


def level_lines(
    levels: Iterable[tuple[float, str]], left: float, right: float, gap: float = 8, size: float = FONT_SIZE
) -> list[Mark]:
    """Return a horizontal line at each height, with its text `gap` to the left of it."""
    marks: list[Mark] = []
    for y, text in levels:
        marks += [Line(((left, y), (right, y))), Text((left - gap, y + 4), text, "end", size=size)]
    return marks
