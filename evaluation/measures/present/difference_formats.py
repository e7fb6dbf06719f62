"""Format differences between models: in points, in words, and as a bar around zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from common.charts.scene import Svg
from evaluation.measures.paired_comparison import Tested
from evaluation.measures.present import figure_formats
from evaluation.measures.present.figure_formats import Shown
from evaluation.metrics.paired_tests import Difference


def picture(scale: figure_formats.Scale | None, difference: Shown) -> Svg | str:
    """Return a difference with its interval, over a mark where nothing differs."""
    return figure_formats.picture(scale, difference, reference=0.0)


def scale_around_zero(differences: Sequence[Difference]) -> figure_formats.Scale | None:
    """Return one scale for all differences, with no difference in the middle."""
    ends = [abs(e) for d in differences for e in (d.lower, d.upper, d.value) if e is not None]
    return figure_formats.Scale(-max(ends), max(ends)) if any(ends) else None


def in_words_of_p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def shown_difference(d: Difference) -> Shown:
    """Return a difference as shown: shares differ by percentage points, and not by per cent of one another."""
    shown_figure = figure_formats.shown(d.metric, d.value, d.lower, d.upper, n=d.n, higher_is_better=d.higher_is_better)
    return replace(shown_figure, text=in_points(shown_figure.text), interval=in_points(shown_figure.interval))


def in_points(text: str) -> str:
    return text.replace(" %", " points")


def says(tested: Tested) -> str:
    """Return what a difference comes to, in words."""
    d = tested.difference
    if d.differing == 0:
        return "no item differs"
    if tested.verdict == "better":
        return "better beyond doubt"
    if tested.verdict == "worse":
        return "worse beyond doubt"
    if tested.more is not None and tested.more > d.n:
        return f"undecided; about {float(f'{tested.more:.2g}'):,.0f} items would decide it"
    return "undecided"
