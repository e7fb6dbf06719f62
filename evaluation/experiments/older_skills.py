"""What the models of an experiment lose, or gain, in older skills: accuracy on the built-in suite against the parent's.

Both answer the same items, so that the change is known better than either accuracy (`metrics.paired_tests`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from evaluation.measures import paired_differences
from evaluation.metrics.paired_tests import Difference
from evaluation.models import ArmModel, Evaluation, Experiment
from evaluation.recipes import suite

CONFIG = {"measure": "choices", "limit": 1000}  # all of the suite
TASK, METRIC = f"suite {suite.NAME} {suite.VERSION}", "accuracy"  # as the recipe calls them


@dataclass(frozen=True)
class SkillChange:
    """The mean change of an arm's models, in shares: `by_seed` each one's, on `items` items.

    `lower` and `upper` are the means of the 95 % limits of its models. Were the models independent, the interval would
    be narrower; they answer the same items. None where there are too few items.
    """

    by_seed: list[float]
    lower: float | None
    upper: float | None
    items: int

    @property
    def value(self) -> float:
        return mean(self.by_seed)


def changes(experiment: Experiment, every: Sequence[ArmModel]) -> dict[int, SkillChange]:
    """Return the change of each arm that was measured, by the arm."""
    ids = {one.model_id for one in every if one.model_id} | {experiment.parent_id}
    figures = Evaluation.objects.filter(
        project=experiment.project, task=TASK, metric=METRIC, group="", model__in=ids, run__isnull=False
    )
    rows = list(figures.exclude(items_hash="").select_related("run").order_by("pk"))
    # Of each model the newest on items that its parent met, too: another experiment may have asked other ones.
    parents = {row.items_hash: row.run for row in rows if row.run and row.model_id == experiment.parent_id}
    newest = {row.model_id: (parents[row.items_hash], row.run) for row in rows if row.items_hash in parents}
    newest.pop(experiment.parent_id, None)
    by_arm: dict[int, list[Difference]] = {}
    for one in every:
        parent, run = newest.get(one.model_id, (None, None)) if one.model_id else (None, None)
        if parent and run and (found := paired_differences.pair(parent, run).all.get(METRIC)):
            by_arm.setdefault(one.arm_id, []).append(found)
    return {arm: _change(differences) for arm, differences in by_arm.items()}


def _change(differences: list[Difference]) -> SkillChange:
    lowers = [one.lower for one in differences if one.lower is not None]
    uppers = [one.upper for one in differences if one.upper is not None]
    is_known = len(lowers) == len(uppers) == len(differences)
    return SkillChange(
        by_seed=[one.value for one in differences],
        lower=mean(lowers) if is_known else None,
        upper=mean(uppers) if is_known else None,
        items=differences[0].n,
    )
