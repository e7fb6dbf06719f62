"""Rate the kept checkpoints of an arm's runs beside its models: each step is an exploratory arm, of as many seeds.

They are rated and shown and have no part in the verdict: whoever looks at several steps of an arm and names the best
has looked several times. What all votes say is tested over all arms at once, checkpoints too (`experiment_results`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from evaluation.models import ArmModel, Experiment, ExperimentArm
from training.models import KeptCheckpoint

OF, STEP = "checkpoint_of", "step"  # in an arm's config: the arm whose runs kept it, and when


def is_checkpoint(arm: ExperimentArm) -> bool:
    return OF in arm.config


def add_kept(experiment: Experiment, every: Sequence[ArmModel]) -> bool:
    """Add the checkpoints that have come since, of arms that take them along; return whether there were any."""
    has_added = False
    known = {(one.arm.config[OF], one.arm.config[STEP], one.seed) for one in every if is_checkpoint(one.arm)}
    taking = [one for one in every if one.model_id and one.arm.config.get("takes_checkpoints")]
    runs = {one.training_run_id: one for one in taking}
    found = KeptCheckpoint.objects.filter(run__in=runs).order_by("step", "run") if runs else []
    for kept in found:
        one = runs[kept.run_id]
        if (one.arm_id, kept.step, one.seed) not in known:
            arm, _ = ExperimentArm.objects.get_or_create(
                experiment=experiment, name=f"{one.arm.name}, step {kept.step}",
                defaults={
                    "method": one.arm.method, "is_exploratory": True, "created_by": experiment.created_by,
                    "config": {"config": {}, "drawing": {}, OF: one.arm_id, STEP: kept.step},
                },
            )  # fmt: skip
            ArmModel.objects.get_or_create(arm=arm, seed=one.seed, defaults={"model_id": kept.model_id})
            has_added = True
    return has_added


def places_taken(arms: Iterable[ExperimentArm]) -> int:
    """Return how many arms these are, or will be when all their checkpoints stand."""
    own = [arm for arm in arms if not is_checkpoint(arm)]
    kept = sum(arm.config["config"]["kept_checkpoints"] for arm in own if arm.config.get("takes_checkpoints"))
    return len(own) + int(kept)
