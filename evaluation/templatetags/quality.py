"""An annotator's figures on the pages: sentences, small pictures of intervals, and numbers of annotations in words."""

from __future__ import annotations

from urllib.parse import urlencode

from django import template
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from evaluation.annotator_quality import explanations
from evaluation.annotator_quality.annotator_measures import Measure
from evaluation.annotator_quality.findings import AnnotatorFigures

register = template.Library()
_WIDTH, _HEIGHT = 120, 14
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
    """Where an annotator's page is, or that of excluding them: by account, or by the name in the file of an import."""
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
def interval_picture(measure: Measure) -> SafeString | str:
    """Return the interval on its scale, with a stroke for what it is set beside; the words beside it say the same."""
    if measure.name in _WITHOUT or measure.lower is None or measure.upper is None:
        return ""
    low, high = _SCALES.get(measure.name, (0.0, 1.0))

    def at(value: float) -> float:
        return round(4 + (_WIDTH - 8) * (min(max(value, low), high) - low) / (high - low), 1)

    mark = ""
    if measure.beside is not None:
        mark = format_html('<line class="beside" x1="{0}" x2="{0}" y1="1" y2="13"/>', at(measure.beside))
    return format_html(
        '<svg class="judge-interval" viewBox="0 0 {} {}" aria-hidden="true">'
        '<line class="floor" x1="4" x2="{}" y1="7" y2="7"/>{}'
        '<line class="bar" x1="{}" x2="{}" y1="7" y2="7"/><circle cx="{}" cy="7" r="3.5"/></svg>',
        *(_WIDTH, _HEIGHT, _WIDTH - 4, mark, at(measure.lower), at(measure.upper), at(measure.value)),
    )
