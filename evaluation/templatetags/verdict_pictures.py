"""Small pictures of a judge model's intervals; the words beside them say the same."""

from __future__ import annotations

from django import template

from common.charts.interval_bar import interval_bar
from common.charts.scene import Svg, svg
from evaluation.judge_models.present import Sentence

register = template.Library()
_WIDTH, _PAD = 120, 4


@register.filter
def figure_picture(sentence: Sentence) -> Svg | str:
    """Return the interval on its scale, with a stroke for what it is compared with."""
    figure, (low, high) = sentence.figure, sentence.scale
    if figure.lower is None or figure.upper is None:
        return ""

    def x(value: float) -> float:
        return _PAD + (_WIDTH - 2 * _PAD) * (min(max(value, low), high) - low) / (high - low)

    ends = (figure.value, figure.lower, figure.upper)
    return svg(interval_bar(x, *ends, width=_WIDTH, pad=_PAD, reference=figure.beside, is_bold=True), "judge-interval")
