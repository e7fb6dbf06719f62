"""Show whether a PPO run's score still means something: beside it the held-out prompts' and the second head's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training.runs.figures import charts, progress
from training.runs.figures.curves import evenly, is_number, thinned

if TYPE_CHECKING:
    from training.models import Run

_SCORES = {
    "score_mean": "training prompts",
    "held_out_score": "held-out prompts",
    "gold_score": "second head, trained on other annotations",
}
_POINTS = 400
_LINES = 60
Values = dict[str, Any]


@dataclass(frozen=True)
class Key:
    label: str
    colour: int


@dataclass(frozen=True)
class Line:
    """One step: scores, and the two gaps with their 95 % intervals."""

    step: int
    scores: tuple[str, ...]
    held_out_gap: str
    gold_behind: str


def context(run: Run) -> dict[str, Any]:
    """Return a picture with its table; {} where there is nothing to set beside the score."""
    rows = [(step, values) for step, values in run.metrics.order_by("sequence").values_list("step", "values")]
    return of_rows(rows)


def of_rows(rows: list[tuple[int, Values]]) -> dict[str, Any]:
    """Return a picture and its table. `rows` are (step, values), first to last."""
    series = [
        charts.Series(label, tuple((float(step), float(v[name])) for step, v in rows if is_number(v.get(name))))
        for name, label in _SCORES.items()
    ]
    if not any(one.points for one in series[1:]):
        return {}
    shown = [one for one in series if one.points]
    names = [name for name, one in zip(_SCORES, series, strict=True) if one.points]
    drawn_series = [charts.Series(one.label, tuple(evenly(one.points, _POINTS))) for one in shown]
    return {
        "score_picture": charts.picture(drawn_series, title="Score", x_title="step", width=560, height=280),
        "score_keys": [Key(one.label, i) for i, one in enumerate(shown, start=1)],
        "score_lines": [_line(step, values, names) for step, values in thinned(rows, _LINES)],
        "has_held_out": "held_out_score" in names,
        "has_gold": "gold_score" in names,
    }


def _line(step: int, values: Values, names: list[str]) -> Line:
    scores = tuple(f"{values[name]:.2f}".replace("-", "−") if is_number(values.get(name)) else "" for name in names)
    return Line(step, scores, _gap(values, "held_out_gap"), _gap(values, "gold_behind"))


def _gap(values: Values, name: str) -> str:
    if not is_number(values.get(name)):
        return ""
    interval = {"value": values[name], "lower": values.get(f"{name}_lower"), "upper": values.get(f"{name}_upper")}
    return progress.with_interval(interval)
