"""Draw how far each model went from its parent against what it gained by the reward model: score by KL, run by run.

A line ends where its model does. A run that records neither has none. Scores are above the parent's own, in the reward
model's deviations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from common.charts.axes import level_lines, number, scale, ticks
from common.charts.scene import LINE_COLOURS, Dot, Line, Mark, Scene, Svg, Text, svg
from evaluation.models import ArmModel
from training.models import Metric, Run

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 12, 44
MOST_POINTS = 200
KINDS = ("ppo", "grpo", "rloo")  # that record their KL step by step
SCORES = ("score_mean", "score")  # PPO's, and those of GRPO and RLOO


@dataclass(frozen=True)
class Frontier:
    """A run's points (KL in nats, score), first to last."""

    arm: str
    seed: int
    run: Run
    points: list[tuple[float, float]]

    @property
    def last(self) -> tuple[float, float]:
        return self.points[-1]


def frontiers(models: Iterable[ArmModel]) -> list[Frontier]:
    """Return the frontier of each run that recorded both."""
    found = []
    for one in models:
        run = one.training_run
        if run is not None and (points := points_of(run)):
            found.append(Frontier(one.arm.name, one.seed, run, points))
    return found


def points_of(run: Run) -> list[tuple[float, float]]:
    if run.kind == "best_of":
        kl, first, last = (run.result.get(name) for name in ("last_kl", "first_score", "last_score"))
        return [(kl, last - first)] if all(_is_number(value) for value in (kl, first, last)) else []
    if run.kind not in KINDS:
        return []
    metrics = Metric.objects.filter(run=run, values__has_key="kl", values__has_any_keys=SCORES)
    if run.kind == "ppo" and _is_number(kept_step := run.result.get("step")):
        metrics = metrics.filter(step__lte=kept_step)  # what came after it broke a limit, and is no model
    rows = _thinned(metrics)
    points = [(row["kl"], score) for row in rows if _is_number(row.get("kl")) and (score := _score(row)) is not None]
    if run.kind != "ppo" and points:  # PPO's are above the parent's already
        points = [(kl, score - points[0][1]) for kl, score in points]
    return points


def _thinned(rows: QuerySet[Metric]) -> list[dict[str, Any]]:
    """Return the values of about MOST_POINTS rows at equal steps, the first and the last among them."""
    numbers = list(rows.order_by("sequence").values_list("sequence", flat=True))
    step = max(1, len(numbers) // MOST_POINTS)
    chosen = {*numbers[::step], *numbers[-1:]}
    return list(rows.filter(sequence__in=chosen).order_by("sequence").values_list("values", flat=True))


def _score(row: dict[str, Any]) -> float | None:
    return next((row[name] for name in SCORES if _is_number(row.get(name))), None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def colours(arms: Sequence[str]) -> dict[str, str]:
    return {arm: f"line-{n % LINE_COLOURS + 1}" for n, arm in enumerate(arms)}


def picture(found: Sequence[Frontier], colour_by_arm: dict[str, str]) -> Svg | None:
    """Return one line for each run, its last point filled; None where no run recorded both."""
    if not found:
        return None
    kls, scores = zip(*(point for one in found for point in one.points), strict=True)
    low, high = min(0.0, *scores), max(0.0, *scores)
    pad = 0.08 * (high - low) or 0.5
    right = WIDTH - RIGHT
    x, y = scale(min(0.0, *kls), max(kls) or 1.0, LEFT, right), scale(low - pad, high + pad, HEIGHT - BOTTOM, TOP)
    marks: list[Mark] = [*level_lines([(y(t), number(t)) for t in ticks(low - pad, high + pad)], LEFT, right)]
    marks += [Text((x(t), HEIGHT - 26), number(t), "middle") for t in ticks(min(0.0, *kls), max(kls) or 1.0)]
    marks.append(Text(((LEFT + right) / 2, HEIGHT - 6), "KL from the parent, nats per answer", "middle"))
    for one in found:
        colour, named = colour_by_arm[one.arm], f"{one.arm}, seed {one.seed}"
        if len(one.points) > 1:
            marks.append(Line(tuple((x(kl), y(s)) for kl, s in one.points), colour, 1.6, opacity=0.7, title=named))
        marks.append(Dot((x(one.last[0]), y(one.last[1])), colour, 5.0, title=named))
    return svg(Scene(WIDTH, HEIGHT, "Score by KL from the parent; the table below has the last points", marks))
