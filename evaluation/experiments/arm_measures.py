"""Measure the models of an experiment beside their votes: older skills, and how far each went from its parent for a
score. The comparison goes on without either.

Older skills are the accuracy on the built-in suite against the parent's: both answer the same items, so that the
change is known better than either accuracy (`metrics.paired_tests`).

KL and score are of the answers that a model gave for the arena, beside its parent's to the same prompts. So every
method is measured alike, whether or not its run records them, on prompts that trained nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import mean

from django.db.models import Q, QuerySet

from annotate.core.errors import Refused
from common.whole_numbers import row_id
from evaluation.measures import paired_differences
from evaluation.metrics import fluency_figures as fluency
from evaluation.metrics.paired_tests import Difference
from evaluation.models import ArmModel, Evaluation, Experiment
from evaluation.recipes import suite
from training.models import Run
from training.storage import quotas

TAX, POINT = "tax", "point"  # end the idempotency keys of these runs
MOST_PROMPTS = 1000
SUITE_CONFIG = {"measure": "choices", "limit": 1000}  # all of the suite
SUITE_TASK, ACCURACY = f"suite {suite.NAME} {suite.VERSION}", "accuracy"  # as the recipe calls them
Queue = Callable[..., Run]
log = logging.getLogger("assay.experiments")


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval over prompts; None where there are too few."""

    value: float
    lower: float | None
    upper: float | None


@dataclass(frozen=True)
class Point:
    """How far a model is from its parent: KL in nats an answer, and the score above the parent's."""

    kl: Figure
    score: Figure


def mean_figure(figures: Sequence[Figure]) -> Figure | None:
    """Return the mean of an arm's models with the means of their limits: were the models independent, the interval
    would be narrower; they answer the same prompts. None of none."""
    if not figures:
        return None
    lower = [one.lower for one in figures if one.lower is not None]
    upper = [one.upper for one in figures if one.upper is not None]
    is_known = len(lower) == len(upper) == len(figures)
    return Figure(
        mean(one.value for one in figures), mean(lower) if is_known else None, mean(upper) if is_known else None
    )


def measuring_runs(ordered: QuerySet[Run]) -> dict[int, list[Run]]:
    """Return the runs that measure models, by the row of its arm: older skills, then KL and score."""
    by_row: dict[int, list[Run]] = {}
    ends = Q(idempotency_key__endswith=f":{TAX}") | Q(idempotency_key__endswith=f":{POINT}")
    for run in ordered.filter(ends).order_by("pk"):
        _, row, _ = str(run.idempotency_key).rsplit(":", 2)
        by_row.setdefault(row_id(row), []).append(run)  # keys of older versions may be anybody's
    return by_row


# Older skills


def order_tax(experiment: Experiment, one: ArmModel, ordered: QuerySet[Run], queue: Queue) -> None:
    """Measure older skills, where the plan asks for it and the model has weights to be measured. All answer the items
    that the first was asked, by an earlier version perhaps. Refused by a quota."""
    if not experiment.plan["measures_tax"] or one.model is None or not one.model.folder:
        return
    first = ordered.filter(idempotency_key__endswith=f":{TAX}").order_by("pk").first()
    config = SUITE_CONFIG | ({"limit": first.config["limit"]} if first else {})
    try:
        queue(f"{one.pk}:{TAX}", "older skills", kind="evaluate", parent=one.model, config=config)
    except Refused as refused:
        if quotas.is_used_up(refused):
            raise
        log.warning("Older skills of %s are not measured: %s", one.model, " ".join(refused.errors.values()))


@dataclass(frozen=True)
class SkillChange:
    """The mean change of an arm's models, in shares: `by_seed` each one's, on `items` items.

    `lower` and `upper` are the means of the 95 % limits of its models; None where there are too few items.
    """

    by_seed: list[float]
    lower: float | None
    upper: float | None
    items: int

    @property
    def value(self) -> float:
        return mean(self.by_seed)


def skill_changes(experiment: Experiment, every: Sequence[ArmModel]) -> dict[int, SkillChange]:
    """Return the change of each arm that was measured, by the arm."""
    ids = {one.model_id for one in every if one.model_id} | {experiment.parent_id}
    figures = Evaluation.objects.filter(
        project=experiment.project, task=SUITE_TASK, metric=ACCURACY, group="", model__in=ids, run__isnull=False
    )
    rows = list(figures.exclude(items_hash="").select_related("run").order_by("pk"))
    # Of each model the newest on items that its parent met, too: another experiment may have asked other ones.
    parents = {row.items_hash: row.run for row in rows if row.run and row.model_id == experiment.parent_id}
    newest = {row.model_id: (parents[row.items_hash], row.run) for row in rows if row.items_hash in parents}
    newest.pop(experiment.parent_id, None)
    by_arm: dict[int, list[Difference]] = {}
    for one in every:
        parent, run = newest.get(one.model_id, (None, None)) if one.model_id else (None, None)
        if parent and run and (found := paired_differences.pair(parent, run).all.get(ACCURACY)):
            by_arm.setdefault(one.arm_id, []).append(found)
    return {arm: _change(differences) for arm, differences in by_arm.items()}


def _change(differences: list[Difference]) -> SkillChange:
    change = mean_figure([Figure(one.value, one.lower, one.upper) for one in differences])
    assert change is not None, "of one model at least"
    return SkillChange([one.value for one in differences], change.lower, change.upper, differences[0].n)


# KL and score


def without_point(experiment: Experiment, every: Iterable[ArmModel], ordered: QuerySet[Run]) -> list[ArmModel]:
    """Return the models in the arena whose KL and score have not been asked for. Without a reward model there is no
    score; the base is 0 by both, and best-of-N has no weights: its run knows the bound of its KL, and its score."""
    if experiment.reward_model is None:
        return []
    trained = [
        one for one in every
        if one.entered_at and one.model is not None and one.model.folder and one.model.parent_id == experiment.parent_id
    ]  # fmt: skip
    if not trained:
        return []
    asked = set(ordered.filter(idempotency_key__endswith=f":{POINT}").values_list("parent", flat=True))
    return [one for one in trained if one.model_id not in asked]


def order_point(experiment: Experiment, one: ArmModel, queue: Queue) -> None:
    """Measure KL and score of a model that has answered. Refused as a run is."""
    queue(
        f"{one.pk}:{POINT}", "KL and score", kind="evaluate", parent=one.model, reward_model=experiment.reward_model,
        config={"measure": "fluency", "limit": MOST_PROMPTS, "contamination": False},
    )  # fmt: skip


def points(experiment: Experiment, every: Sequence[ArmModel], ordered: QuerySet[Run]) -> dict[int, Point]:
    """Return the point of each model that was measured, by the row of its arm; at temperature 0 there is none."""
    runs = ordered.filter(idempotency_key__endswith=f":{POINT}")
    rows = Evaluation.objects.filter(
        project=experiment.project, run__in=runs, group="", metric__in=(fluency.KL, fluency.SCORE_ABOVE)
    )
    found: dict[int, dict[str, Figure]] = {}
    for row in rows.order_by("pk"):
        found.setdefault(row.model_id, {})[row.metric] = Figure(row.value, row.lower, row.upper)
    return {
        one.pk: Point(figures[fluency.KL], figures[fluency.SCORE_ABOVE])
        for one in every
        if one.model_id and len(figures := found.get(one.model_id, {})) == 2
    }
