"""Order an experiment, add an arm later, go on with what failed, cancel it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.core.typed_texts import checked_name
from annotate.language_models.actions import require_usable
from annotate.models import AnnotatorKind, Dataset, LanguageModel, Project, User
from evaluation.experiments import arm_checkpoints, experiment_start, order_checks
from evaluation.experiments.arm_methods import BASE, Arm
from evaluation.experiments.experiment_progress import advance, ordered_runs
from evaluation.experiments.experiment_start import Wish, hash_of, named
from evaluation.experiments.family_tests import AGAINST_BASELINE
from evaluation.models import ArmModel, Experiment, ExperimentArm
from training.models import Run
from training.runs.ordering import actions as runs
from training.runs.ordering.actions import defaults_of

TEST = "step-down max-T on the arms' mean ratings, over new votes and new seeds"
Arms = Sequence[Mapping[str, Any]]


def order(
    *,
    project: Project,
    by: User,
    name: str,
    parent: LanguageModel,
    dataset: Dataset,
    arms: Arms,
    seeds: int = 3,
    budget: Mapping[str, Any] | None = None,
    reward_model: LanguageModel | None = None,
    judge: str = AnnotatorKind.PERSON,
    baseline: str = BASE,
    family: str = AGAINST_BASELINE,
    alpha: float = 0.05,
    votes_per_pair: int | None = None,
    until: str | datetime | None = None,
    completions_per_prompt: int = 2,
    measures_tax: bool = False,
) -> Experiment:
    """Register the plan and queue the runs; return the experiment. Refused by field, and then nothing is kept but
    frozen datasets. Large datasets are frozen in the background: the plan is registered when they stand."""
    require(by, "research", project)
    require_usable(parent, project)
    name = _free_name(project, name)
    if dataset.project_id != project.pk:
        raise Refused(400, dataset=f"{dataset.name} belongs to another project; freeze one in {project.name}.")
    limit = order_checks.require_budget(budget)
    chosen = order_checks.require_arms(list(arms), budget=limit)
    plan = order_checks.require_plan(
        arms=[BASE, *(arm.name for arm in chosen)], baseline=baseline, family=family, alpha=alpha, seeds=seeds,
        judge=judge, votes_per_pair=votes_per_pair, until=until, checkpoints=_places_of(chosen) - len(chosen),
    )  # fmt: skip
    if type(completions_per_prompt) is not int or not 1 <= completions_per_prompt <= 16:
        raise Refused(400, completions_per_prompt="Enter 1 to 16 answers of each model to each eval prompt.")
    wish = Wish(project, name, parent, dataset, reward_model, limit, completions_per_prompt)
    frozen = experiment_start.freeze_data(wish, chosen, by)
    within = experiment_start.checked(wish, chosen, frozen)
    plan |= {"version": 1, "test": TEST, "budget": asdict(limit), "completions_per_prompt": completions_per_prompt}
    plan |= {"measures_tax": bool(measures_tax), "project": project.slug, "name": name}
    plan["answers"] = defaults_of("sample", project, parent)  # how all models answer, whatever is set meanwhile
    plan |= {field: named(row) for field, row in wish.named_rows.items()}
    waits = experiment_start.is_waiting(frozen)
    # While datasets are frozen the arms stand in the plan as they were ordered: their budget may need what is in them.
    registered = experiment_start.registered(plan, chosen if waits else within, frozen)
    try:
        with transaction.atomic():
            experiment = Experiment.objects.create(
                project=project, name=name, parent=parent, dataset=dataset, reward_model=reward_model,
                plan=registered, plan_hash="" if waits else hash_of(registered), created_by=by,
                state=Experiment.State.FREEZING if waits else Experiment.State.TRAINING,
                **experiment_start.frozen_now(frozen),
            )  # fmt: skip
            if not waits:
                experiment_start.add_all(experiment, within, by)
            audit.record(action="experiment.ordered", about=name, by=by, project=project)
    except IntegrityError as error:  # a double click: its twin came first
        raise _name_taken(project, name) from error
    advance(experiment)
    experiment.refresh_from_db()
    return experiment


def add_arm(*, experiment: Experiment, by: User, arm: Mapping[str, Any]) -> list[ExperimentArm]:
    """Add an exploratory arm, or those of its sweep: trained and rated as the others, and no part of the verdict."""
    require(by, "research", experiment.project)
    wish = experiment_start.wish_of(experiment)
    chosen = order_checks.require_arms([arm], budget=wish.budget)
    _require_place(experiment, chosen)
    frozen = experiment_start.freeze_data(wish, chosen, by, experiment)
    if experiment_start.is_waiting(frozen):
        raise Refused(
            409, freeze="The arm learns from a large dataset, which is being frozen in the background: Data, Datasets "
            "shows how far it is. Add the arm when it is there.",
        )  # fmt: skip
    within = experiment_start.checked(wish, chosen, frozen)
    try:
        with transaction.atomic():
            # As it is now: others may have added arms since, or cancelled it.
            experiment = Experiment.objects.select_for_update(no_key=True).get(pk=experiment.pk)
            _require_place(experiment, chosen)
            for field in ("examples", "prompts"):
                if getattr(experiment, field) is None and frozen[field] is not None:
                    setattr(experiment, field, frozen[field])
            experiment.save(update_fields=["examples", "prompts"])
            added = [experiment_start.add(experiment, one, by, is_exploratory=True) for one in within]
            names_added = ", ".join(one.name for one in added)
            about = f"{experiment.name}: {names_added}"
            audit.record(action="experiment.arm_added", about=about, by=by, project=experiment.project)
    except IntegrityError as error:  # a double click: its twin came first
        raise _arm_taken(within[0].name) from error
    advance(experiment)
    return added


def _require_place(experiment: Experiment, chosen: Sequence[Arm]) -> None:
    """Raise Refused where arms can be added no more, have a name that is taken, or are too many beside the others."""
    if experiment.state in (Experiment.State.CANCELLED, Experiment.State.FAILED):
        raise Refused(409, state=f"The experiment is {experiment.state}; order a new one.")
    if experiment.state == Experiment.State.FREEZING:
        raise Refused(409, state="Its datasets are being frozen; add arms when its plan is registered.")
    arms = list(experiment.arms.all())
    names = {arm.name for arm in arms}
    if taken := [one.name for one in chosen if one.name in names]:
        raise _arm_taken(taken[0])
    others = arm_checkpoints.places_taken(arms) - 1  # one of them is the base
    order_checks.require_room(others + _places_of(chosen), len(experiment.plan["seeds"]))


def _places_of(chosen: Sequence[Arm]) -> int:
    return sum(1 + one.checkpoints for one in chosen)


def retry(*, experiment: Experiment, by: User) -> int:
    """Resume the runs that failed, and order again what was refused; return how many. An experiment that failed goes
    on: nobody has voted on it. After the verdict what goes on is exploratory, and the verdict stays."""
    require(by, "research", experiment.project)
    experiment.refresh_from_db(fields=["state"])
    if experiment.state == Experiment.State.CANCELLED:
        raise Refused(409, state=f"The experiment is {experiment.state}; its runs can be resumed one by one.")
    count, refused = runs.resume_all(runs=failed_runs(experiment), by=by)
    count += ArmModel.objects.filter(arm__experiment=experiment).exclude(problem="").update(problem="")
    if refused is not None and not count:
        raise refused
    again = Experiment.State.TRAINING if experiment.plan_hash else Experiment.State.FREEZING
    failed = Experiment.objects.filter(pk=experiment.pk, state=Experiment.State.FAILED)
    failed.update(state=again, problem="")
    advance(experiment)
    return count


def failed_runs(experiment: Experiment) -> list[Run]:
    """Return the runs of an experiment that failed or were cancelled."""
    return list(ordered_runs(experiment).filter(state__in=(Run.State.FAILED, Run.State.CANCELLED)).order_by("pk"))


def cancel(*, experiment: Experiment, by: User) -> Experiment:
    """Cancel an experiment, its unfinished runs and what is frozen for it. Models that stand, and votes, are kept."""
    require(by, "research", experiment.project)
    with transaction.atomic():
        experiment = Experiment.objects.select_for_update().get(pk=experiment.pk)
        if experiment.is_over:
            raise Refused(409, state=f"The experiment is {experiment.state}, so it cannot be cancelled.")
        experiment.state = Experiment.State.CANCELLED
        experiment.save(update_fields=["state"])
        audit.record(action="experiment.cancelled", about=experiment.name, by=by, project=experiment.project)
    experiment_start.cancel_freezing(experiment, by)
    runs.cancel_unfinished(runs=ordered_runs(experiment), by=by)
    return experiment


def _free_name(project: Project, name: str) -> str:
    name = checked_name(name, 60)
    if Experiment.objects.filter(project=project, name=name).exists():
        raise _name_taken(project, name)
    return name


def _arm_taken(name: str) -> Refused:
    return Refused(409, **{"arms.0.name": f"There is an arm {name} already; choose another name."})


def _name_taken(project: Project, name: str) -> Refused:
    return Refused(409, name=f"{project.name} already has an experiment {name!r}; choose another name.")
