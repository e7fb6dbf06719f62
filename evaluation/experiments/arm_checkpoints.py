"""Rate the kept checkpoints of an arm's runs beside its models: each step is an exploratory arm, of as many seeds.
Where each seed draws examples of its own, and so has steps of its own, it is each place: the first of two, the second.

They are rated and shown and have no part in the verdict: whoever looks at several steps of an arm and names the best
has looked several times. What all votes say is tested over all arms at once, checkpoints too (`experiment_results`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from django.db import transaction

from evaluation.experiments.arm_methods import METHODS
from evaluation.models import ArmModel, Experiment, ExperimentArm
from training.models import KeptCheckpoint

OF, STEP = "checkpoint_of", "step"  # in an arm's config: the arm whose runs kept it, and when, where seeds agree


def is_checkpoint(arm: ExperimentArm) -> bool:
    return OF in arm.config


def add_kept(experiment: Experiment, every: Sequence[ArmModel]) -> bool:
    """Add the checkpoints that have come since, of arms that take them along; return whether there were any."""
    known = {one.model_id for one in every if is_checkpoint(one.arm)}
    taking = [one for one in every if one.model_id and one.arm.config.get("takes_checkpoints")]
    new = [found for found in _kept(taking) if found[2].model_id not in known] if taking else []
    if not new:
        return False
    with transaction.atomic():
        row = Experiment.objects.select_for_update(no_key=True).get(pk=experiment.pk)
        if row.state == Experiment.State.CANCELLED:  # meanwhile: nothing would ever become of them
            return False
        for one, place, kept in new:
            _add(experiment, one, place, kept)
    return True


def _kept(taking: Sequence[ArmModel]) -> Iterator[tuple[ArmModel, int, KeptCheckpoint]]:
    """Yield each checkpoint with its place among those of its run, from 1 on."""
    runs = {one.training_run_id: one for one in taking}
    of_run: dict[int, int] = defaultdict(int)
    for kept in KeptCheckpoint.objects.filter(run__in=runs).order_by("step", "run"):
        of_run[kept.run_id] += 1
        yield runs[kept.run_id], of_run[kept.run_id], kept


def _add(experiment: Experiment, one: ArmModel, place: int, kept: KeptCheckpoint) -> None:
    config = {"config": {}, "drawing": {}, OF: one.arm_id}
    if METHODS[one.arm.method].draws_examples:
        name = f"{one.arm.name}, checkpoint {place} of {one.arm.config['config']['kept_checkpoints']}"
    else:
        name, config = f"{one.arm.name}, step {kept.step}", config | {STEP: kept.step}
    arm, _ = ExperimentArm.objects.get_or_create(
        experiment=experiment, name=name,
        defaults={
            "method": one.arm.method, "is_exploratory": True, "created_by": one.arm.created_by, "config": config,
        },
    )  # fmt: skip
    ArmModel.objects.get_or_create(arm=arm, seed=one.seed, defaults={"model_id": kept.model_id})


def places_taken(arms: Iterable[ExperimentArm]) -> int:
    """Return how many arms these are, or will be when all their checkpoints stand."""
    own = [arm for arm in arms if not is_checkpoint(arm)]
    kept = sum(arm.config["config"]["kept_checkpoints"] for arm in own if arm.config.get("takes_checkpoints"))
    return len(own) + int(kept)
