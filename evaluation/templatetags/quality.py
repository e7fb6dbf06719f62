"""An annotator's figures on the pages: sentences, small pictures of intervals, and numbers of annotations in words."""

from __future__ import annotations

from urllib.parse import urlencode

from django import template
from django.urls import reverse

from common.charts.interval_bar import interval_bar
from common.charts.scene import Svg, svg
from evaluation.annotator_quality import explanations
from evaluation.annotator_quality.annotator_measures import Measure
from evaluation.annotator_quality.findings import AnnotatorFigures

register = template.Library()
_WIDTH, _PAD = 120, 4
_SCALES = {"severity": (-2.0, 2.0), "in_step": (-1.0, 1.0)}
_WITHOUT = {"seconds", "pace"}  # no end of the scale
_NAMES = {
    "comparison": "comparison",
    "rating": "rating",
    "ranking": "ranking",
    "demonstration": "written answer",
    "span": "marked span",
    "flag": "flag",
}


@register.simple_tag
def annotator_url(slug: str, user: int | None, source: str = "", name: str = "", exclude: bool = False) -> str:
    """Return the address of an annotator's page, or of excluding them: by account, or by the name in the file of an
    import."""
    if user:
        return reverse("quality-exclude" if exclude else "quality-annotator", args=[slug, user])
    address = reverse("quality-exclude-imported" if exclude else "quality-imported", args=[slug])
    return f"{address}?{urlencode({'source': source, 'name': name})}"


@register.filter
def sentences(figures: AnnotatorFigures, is_own: object) -> list[explanations.Sentence]:
    return explanations.sentences(figures, is_own=bool(is_own))


@register.filter
def kinds(kind: str, n: int) -> str:
    name = _NAMES.get(kind, kind)
    return name if n == 1 else f"{name}s"


@register.filter
def annotation_count(numbers: dict[str, int]) -> str:
    """Return {"comparison": 2, "rating": 1} -> 2 comparisons, 1 rating"""
    ordered = [*_NAMES, *(kind for kind in numbers if kind not in _NAMES)]  # Postgres keeps JSON in an order of its own
    texts = [f"{numbers[kind]:,} {kinds(kind, numbers[kind])}" for kind in ordered if numbers.get(kind)]
    return ", ".join(texts) or "no annotations"


@register.filter
def interval_picture(measure: Measure) -> Svg | str:
    """Return the interval on its scale, with a stroke for what it is set beside; the words beside it say the same."""
    if measure.name in _WITHOUT or measure.lower is None or measure.upper is None:
        return ""
    low, high = _SCALES.get(measure.name, (0.0, 1.0))

    def x(value: float) -> float:
        return _PAD + (_WIDTH - 2 * _PAD) * (min(max(value, low), high) - low) / (high - low)

    ends, reference = (measure.value, measure.lower, measure.upper), measure.beside
    return svg(interval_bar(x, *ends, width=_WIDTH, pad=_PAD, reference=reference, is_bold=True), "judge-interval")
