"""Draw how far each model went from its parent against what it gained by the reward model: score by KL, model by model.

A dot is what was measured on the model's answers in the arena (`arm_measures`), and before that what its run recorded
last. A line is the way there: what the run recorded step by step, on prompts and at the temperature of training; of a
run that records neither it joins the kept checkpoints that were measured. Scores are above the parent's own, in the
reward model's deviations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, F, Q, Window
from django.db.models.functions import Greatest, RowNumber

from common.charts.axes import level_lines, number, scale, ticks
from common.charts.scene import LINE_COLOURS, Dot, Line, Mark, Scene, Svg, Text, svg
from evaluation.core.recent_values import Recent
from evaluation.experiments import arm_checkpoints
from evaluation.experiments.arm_measures import Figure, Point
from evaluation.models import ArmModel
from training.models import Metric, Run

WIDTH, HEIGHT = 640, 332
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 24, 44
MOST_POINTS = 200
KINDS = ("ppo", "grpo", "rloo")  # that record their KL step by step
SCORES = ("score_mean", "score")  # PPO's, and those of GRPO and RLOO
Points = list[tuple[float, float]]
_recent = Recent(512)


@dataclass(frozen=True)
class Frontier:
    """A model's way (KL in nats, score), first to last; `measured` is where its answers in the arena are."""

    arm: str
    seed: int
    one: ArmModel
    points: Points
    measured: Point | None = None

    @property
    def kl(self) -> Figure:
        return self.measured.kl if self.measured else Figure(self.points[-1][0], None, None)

    @property
    def score(self) -> Figure:
        return self.measured.score if self.measured else Figure(self.points[-1][1], None, None)


def frontiers(models: Sequence[ArmModel], measured: Mapping[int, Point]) -> list[Frontier]:
    """Return the frontier of each model that was measured, or whose run recorded both."""
    recorded = points_by_run([one.training_run for one in models if one.training_run is not None])
    kept = _checkpoints(models, measured)
    found = []
    for one in models:
        points = recorded.get(one.training_run_id or 0, [])
        if not points and one.pk in measured:  # else the way would end at a checkpoint
            points = kept.get((one.arm_id, one.seed), [])
        if points or one.pk in measured:
            found.append(Frontier(one.arm.name, one.seed, one, points, measured.get(one.pk)))
    return found


def _checkpoints(models: Iterable[ArmModel], measured: Mapping[int, Point]) -> dict[tuple[int, int], Points]:
    """Return the points of kept checkpoints and then of their model, from the parent on, by its arm and its seed."""
    ways: dict[tuple[int, int], Points] = {}
    for one in models:  # as they came, an earlier step first
        if arm_checkpoints.is_checkpoint(one.arm) and (point := measured.get(one.pk)):
            way = ways.setdefault((one.arm.config[arm_checkpoints.OF], one.seed), [(0.0, 0.0)])
            way.append((point.kl.value, point.score.value))
    for one in models:
        if (one.arm_id, one.seed) in ways and (point := measured.get(one.pk)):
            ways[one.arm_id, one.seed].append((point.kl.value, point.score.value))
    return ways


def points_by_run(runs: Sequence[Run]) -> dict[int, Points]:
    """Return the points of those runs that recorded both; what a finished run recorded is read once."""
    asked = {run.pk: _state(run) for run in runs if run.kind in KINDS}
    points = {pk: kept for pk, state in asked.items() if (kept := _recent.get(pk, state)) is not None}
    reading = [run for run in runs if run.pk in asked and run.pk not in points]
    rows = _thinned(reading)
    for run in reading:
        points[run.pk] = _steps(run, rows.get(run.pk, []))
        if run.is_finished:
            _recent.put(run.pk, asked[run.pk], points[run.pk])
    points |= {run.pk: _of_best(run) for run in runs if run.kind == "best_of"}
    return {pk: found for pk, found in points.items() if found}


def _state(run: Run) -> str:
    return f"{run.state} {run.created_at} {run.finished_at} {run.result.get('step')}"


def _of_best(run: Run) -> Points:
    kl, first, last = (run.result.get(name) for name in ("last_kl", "first_score", "last_score"))
    return [(kl, last - first)] if all(_is_number(value) for value in (kl, first, last)) else []


def _steps(run: Run, rows: Sequence[dict[str, Any]]) -> Points:
    points = [
        (_kl(run, row), score) for row in rows if _is_number(row.get("kl")) and (score := _score(row)) is not None
    ]
    if run.kind != "ppo" and points:  # PPO's are above the parent's already
        points = [(kl, score - points[0][1]) for kl, score in points]
    return points


def _thinned(runs: Sequence[Run]) -> dict[int, list[dict[str, Any]]]:
    """Return the values of about MOST_POINTS rows of each run, at equal steps, the first and the last among them."""
    if not runs:
        return {}
    rows = Metric.objects.filter(run__in=runs, values__has_key="kl", values__has_any_keys=SCORES)
    for run in runs:
        if run.kind == "ppo" and _is_number(kept_step := run.result.get("step")):
            rows = rows.exclude(run=run, step__gt=kept_step)  # what came after it broke a limit, and is no model
    of_run: dict[str, Any] = {"partition_by": "run"}
    counted = rows.annotate(
        place=Window(RowNumber(), order_by="sequence", **of_run), count=Window(Count("pk"), **of_run)
    ).annotate(each=Greatest(F("count") / MOST_POINTS, 1))
    chosen = counted.annotate(over=(F("place") - 1) % F("each")).filter(Q(over=0) | Q(place=F("count")))
    found: dict[int, list[dict[str, Any]]] = {}
    for pk, values in chosen.order_by("run", "sequence").values_list("run", "values"):
        found.setdefault(pk, []).append(values)
    return found


def _kl(run: Run, row: dict[str, Any]) -> float:
    """Return KL in nats an answer. By TRL's trainers GRPO and RLOO recorded it by token, over all tokens of a step."""
    is_by_answer = run.kind == "ppo" or "kl_per_token" in row
    return float(row["kl"] if is_by_answer else row["kl"] * row.get("length_mean", 1.0))


def _score(row: dict[str, Any]) -> float | None:
    return next((row[name] for name in SCORES if _is_number(row.get(name))), None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def colours(arms: Sequence[str]) -> dict[str, str]:
    return {arm: f"line-{n % LINE_COLOURS + 1}" for n, arm in enumerate(arms)}


def repeated(arms: Sequence[str]) -> list[str]:
    """Return the arms whose colour an earlier one has, too."""
    return list(arms[LINE_COLOURS:])


def picture(found: Sequence[Frontier], colour_by_arm: dict[str, str]) -> Svg | None:
    """Return a line for each way and a dot for each model; None without any. Colours repeat past the eighth, and the
    lines of their arms are dashed."""
    if not found:
        return None
    drawn = [(one.kl.value, one.score.value) for one in found]
    kls, scores = zip(*drawn, *(point for one in found for point in one.points), strict=True)
    low, high = min(0.0, *scores), max(0.0, *scores)
    pad = 0.08 * (high - low) or 0.5
    right = WIDTH - RIGHT
    x, y = scale(min(0.0, *kls), max(kls) or 1.0, LEFT, right), scale(low - pad, high + pad, HEIGHT - BOTTOM, TOP)
    marks: list[Mark] = [*level_lines([(y(t), number(t)) for t in ticks(low - pad, high + pad)], LEFT, right)]
    marks += [Text((x(t), HEIGHT - 26), number(t), "middle") for t in ticks(min(0.0, *kls), max(kls) or 1.0)]
    marks.append(Text(((LEFT + right) / 2, HEIGHT - 6), "KL from the parent, nats per answer", "middle"))
    marks.append(Text((LEFT, TOP - 10), "score"))
    dashed = repeated(list(colour_by_arm))
    for one in found:
        colour, named = colour_by_arm[one.arm], f"{one.arm}, seed {one.seed}"
        if len(one.points) > 1:
            points = tuple((x(kl), y(s)) for kl, s in one.points)
            marks.append(Line(points, colour, 1.6, one.arm in dashed, opacity=0.7, title=named))
        marks.append(Dot((x(one.kl.value), y(one.score.value)), colour, 5.0, title=named))
    return svg(Scene(WIDTH, HEIGHT, "Score by KL from the parent; the table below has the dots", marks))
