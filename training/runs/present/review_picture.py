"""Draw the reward model's opinion and people's, over the reviews of a run, as an SVG that needs no script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.charts import scene
from common.charts.axes import scale
from common.charts.scene import Dot, Line, Point, Scene, Svg, Text, svg
from common.distributions import ROUNDED_Z95
from common.intervals import wilson
from common.texts import percent
from training.runs.figures.curves import evenly

_WIDTH, _HEIGHT = 640, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 16, 12, 30
_LABELS = 8
_EXPECTED, _PEOPLE = "accent", "b"  # as the key of templates/training/runs/kinds/ppo_review.html has them


@dataclass(frozen=True)
class Mark:
    """One review: the reward model's probability for the policy's answers, and people's share of `pairs` judged."""

    step: int
    predicted: float
    people: float
    pairs: int


def picture(marks: Sequence[Mark]) -> Svg:
    """Return two lines over steps: what the reward model expects, and what people said with its 95 % interval."""
    x = scale(marks[0].step, marks[-1].step, _LEFT, _WIDTH - _RIGHT)
    y = scale(0, 1, _HEIGHT - _BOTTOM, _TOP)
    judged_marks = [mark for mark in marks if mark.pairs]
    elements: list[scene.Mark] = []
    for share in (0.0, 0.5, 1.0):
        elements += [Line(((_LEFT, y(share)), (_WIDTH - _RIGHT, y(share))))]
        elements += [Text((_LEFT - 8, y(share) + 4), percent(share), "end")]
    elements += [Text((x(mark.step), _HEIGHT - 8), str(mark.step), "middle") for mark in evenly(marks, _LABELS)]
    for mark in judged_marks:
        low, high = wilson(round(mark.people * mark.pairs), mark.pairs, ROUNDED_Z95)
        elements.append(Line(((x(mark.step), y(low)), (x(mark.step), y(high))), _PEOPLE))
    elements += _curve(_EXPECTED, [(x(mark.step), y(mark.predicted)) for mark in marks])
    elements += _curve(_PEOPLE, [(x(mark.step), y(mark.people)) for mark in judged_marks])
    title = "Expected and observed share of votes in each review; the table below has the figures"
    return svg(Scene(_WIDTH, _HEIGHT, title, elements), "human-review")


def _curve(colour: str, points: Sequence[Point]) -> list[scene.Mark]:
    return [Line(tuple(points), colour, 2.0), *(Dot(point, colour) for point in points)]
