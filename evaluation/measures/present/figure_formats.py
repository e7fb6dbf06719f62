"""Format and draw a figure of an evaluation: rounded to what its interval tells, a share as a percentage."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.charts.interval_bar import interval_bar
from common.charts.scene import Svg, svg
from evaluation.metrics import definitions as families

if TYPE_CHECKING:
    from evaluation.models import Evaluation

WIDTH, PAD = 120, 5
_LOPSIDED = 0.15  # of an interval's width, by which one side may be longer


@dataclass(frozen=True)
class Shown:
    """A figure as a page writes it. `margin` follows the value; empty where the interval is unknown."""

    name: str
    value: float
    lower: float | None
    upper: float | None
    n: int
    text: str
    margin: str
    interval: str
    higher_is_better: bool | None

    @property
    def unit(self) -> str:
        metric = _metric(self.name)
        return metric.unit if metric else ""

    @property
    def arrow(self) -> str:
        return {True: "↑", False: "↓", None: ""}[self.higher_is_better]

    @property
    def direction(self) -> str:
        return {True: "higher is better", False: "lower is better", None: ""}[self.higher_is_better]


def of_result(name: str, figure: dict[str, Any]) -> Shown:
    """Return the figure of an entry of `result.json`, or of Evaluation.clean."""
    ends = figure.get("lower"), figure.get("upper")
    error = figure.get("standard_error")
    if ends == (None, None) and error is not None:
        ends = figure["value"] - 1.96 * error, figure["value"] + 1.96 * error
    return shown(name, figure["value"], *ends, n=figure.get("n") or 0, higher_is_better=figure.get("higher_is_better"))


def of_evaluation(evaluation: Evaluation) -> Shown:
    names = ("value", "lower", "upper", "standard_error", "n", "higher_is_better")
    return of_result(evaluation.metric, {name: getattr(evaluation, name) for name in names})


def shown(
    name: str, value: float, lower: float | None, upper: float | None, *, n: int, higher_is_better: bool | None
) -> Shown:
    factor, unit = (100, " %") if is_share(name) else (1, "")
    digits = _places([v * factor for v in (value, lower, upper) if v is not None])
    metric = _metric(name)

    def text(number: float) -> str:
        plain = written(number * factor, digits)
        return f"+{plain}" if metric and metric.is_signed and number > 0 and plain.strip("0.") else plain

    ends = "" if lower is None or upper is None else f"{text(lower)} to {text(upper)}{unit}"
    return Shown(
        name=name,
        value=value,
        lower=lower,
        upper=upper,
        n=n,
        text=text(value) + unit,
        margin="" if lower is None or upper is None else _margin(value, lower, upper, text),
        interval=ends,
        higher_is_better=direction(name) if higher_is_better is None else higher_is_better,
    )


def written(number: float, digits: int) -> str:
    """Return 1,234.5, with a true minus sign; from a million on 6.8e16, whose zeros nobody can count."""
    text = f"{number:,.{digits}f}" if abs(number) < 1e6 else f"{number:.2g}"
    return text.replace("-", "−")


def _margin(value: float, lower: float, upper: float, text: Callable[[float], str]) -> str:
    """Return `± 2.1`, or `[0, 24]` where the two sides differ by more than a reader would guess; nothing for no
    width."""
    below, above = value - lower, upper - value
    if upper <= lower:
        return ""
    if abs(above - below) > _LOPSIDED * (upper - lower):
        return f"[{text(lower)}, {text(upper)}]"
    return f"± {text((upper - lower) / 2).removeprefix('+')}"


# Shares by their names, of figures that no sum of counts gives.
_SHARES = ("accuracy", "win rate", "disagree", "preferred when", "share")


def is_share(name: str) -> bool:
    metric = _metric(name)
    return metric.is_share if metric else any(word in name for word in _SHARES)


def direction(name: str) -> bool | None:
    """Return True when higher is better; None for what is no metric of ours, such as a reward run's own figures."""
    metric = _metric(name)
    return metric.higher_is_better if metric else None


def _metric(name: str) -> families.Metric | None:
    try:
        return families.find(name)
    except ValueError:
        return None


def _places(numbers: list[float]) -> int:
    """Return the decimal places: two digits of the interval's width are all that a reader can use; without one, three
    of the value."""
    value, *ends = numbers
    width = abs(ends[1] - ends[0]) if len(ends) == 2 else 0.0
    scale, figures = (width / 2, 2) if width > 0 else (abs(value), 3)
    if scale == 0 or not math.isfinite(scale):
        return 1
    return min(max(figures - 1 - math.floor(math.log10(scale)), 0), 4)


@dataclass(frozen=True)
class Scale:
    """The values of one column laid over a small picture's width."""

    low: float
    high: float

    def x(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(PAD + share * (WIDTH - 2 * PAD), 1)


def scale_over(figures: list[Shown]) -> Scale | None:
    """Return one scale for all figures of a column; None where there is nothing to see."""
    ends = [end for figure in figures for end in (figure.lower, figure.upper, figure.value) if end is not None]
    if not ends or not all(map(math.isfinite, ends)):
        return None
    low, high = min(ends), max(ends)
    return Scale(low, high) if high > low else None


def picture(scale: Scale | None, figure: Shown, reference: float | None = None) -> Svg | str:
    """Return a dot with its interval; the numbers stand beside it. `reference` is marked on the scale."""
    if scale is None or figure.lower is None or figure.upper is None:
        return ""
    ends = (figure.value, figure.lower, figure.upper)
    bar = interval_bar(scale.x, *ends, width=WIDTH, pad=PAD, title=figure.interval, reference=reference)
    return svg(bar, "figure-interval")
