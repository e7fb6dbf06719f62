"""Order an experiment, add an arm later, go on with what failed, cancel it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.core.typed_texts import checked_name
from annotate.data.datasets import sampled_prompts
from annotate.data.datasets.actions import freeze
from annotate.language_models.actions import require_usable
from annotate.models import (
    AnnotatorKind,
    Comparison,
    Dataset,
    Demonstration,
    LanguageModel,
    Project,
    Rating,
    Split,
    User,
)
from evaluation.experiments import order_checks
from evaluation.experiments.arm_methods import BASE, METHODS, Arm, Budget
from evaluation.experiments.experiment_progress import advance, ordered_runs
from evaluation.experiments.family_tests import AGAINST_BASELINE
from evaluation.models import ArmModel, Experiment, ExperimentArm
from training.models import Run
from training.runs.ordering import actions as runs
from training.runs.ordering.checks import check_order
from training.runs.ordering.reward_order import leaves_out_own_model

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
    frozen datasets."""
    require(by, "research", project)
    require_usable(parent, project)
    name = _free_name(project, name)
    if dataset.project_id != project.pk:
        raise Refused(400, dataset=f"{dataset.name} belongs to another project; freeze one in {project.name}.")
    chosen, limit = order_checks.require_arms(list(arms)), order_checks.require_budget(budget)
    plan = order_checks.require_plan(
        arms=[BASE, *(arm.name for arm in chosen)], baseline=baseline, family=family, alpha=alpha, seeds=seeds,
        judge=judge, votes_per_pair=votes_per_pair, until=until,
    )  # fmt: skip
    if type(completions_per_prompt) is not int or not 1 <= completions_per_prompt <= 16:
        raise Refused(400, completions_per_prompt="Enter 1 to 16 answers of each model to each eval prompt.")
    frozen = _frozen(project, dataset, chosen, by)
    order_checks.check_data(chosen, dataset, frozen["examples"], has_reward_model=reward_model is not None)
    datasets = {**frozen, "preferences": dataset}
    within = [order_checks.budgeted(arm, limit, project, parent, datasets) for arm in chosen]
    _check_runs(project, name, parent, within, datasets, reward_model)
    questions = frozen["questions"]
    assert questions is not None
    registered = _plan(plan, within, limit, parent, dataset, questions, completions_per_prompt, measures_tax)
    registered |= {field: _named(frozen[field]) for field in ("examples", "prompts")}
    registered |= {"reward_model": _named(reward_model), "project": project.slug, "name": name}
    try:
        with transaction.atomic():
            experiment = Experiment.objects.create(
                project=project, name=name, parent=parent, dataset=dataset, examples=frozen["examples"],
                prompts=frozen["prompts"], questions=questions, reward_model=reward_model, plan=registered,
                plan_hash=hash_of(registered), created_by=by,
            )  # fmt: skip
            for arm in (Arm(BASE, BASE, {}), *within):
                _add(experiment, arm, by, is_exploratory=False)
            audit.record(action="experiment.ordered", about=name, by=by, project=project)
    except IntegrityError as error:  # a double click: its twin came first
        raise _name_taken(project, name) from error
    advance(experiment)
    experiment.refresh_from_db()
    return experiment


def add_arm(*, experiment: Experiment, by: User, arm: Mapping[str, Any]) -> list[ExperimentArm]:
    """Add an exploratory arm, or those of its sweep: trained and rated as the others, and no part of the verdict."""
    require(by, "research", experiment.project)
    if experiment.state in (Experiment.State.CANCELLED, Experiment.State.FAILED):
        raise Refused(409, state=f"The experiment is {experiment.state}; order a new one.")
    (chosen, names) = order_checks.require_arms([arm]), set(experiment.arms.values_list("name", flat=True))
    if taken := [one.name for one in chosen if one.name in names]:
        raise _arm_taken(taken[0])
    order_checks.require_room(len(names) - 1 + len(chosen), len(experiment.plan["seeds"]))  # one of them is the base
    frozen = _frozen(experiment.project, experiment.dataset, chosen, by, experiment)
    has_reward_model = experiment.reward_model is not None
    order_checks.check_data(chosen, experiment.dataset, frozen["examples"], has_reward_model=has_reward_model)
    datasets = {**frozen, "preferences": experiment.dataset}
    budget, parent = Budget(**experiment.plan["budget"]), experiment.parent
    within = [order_checks.budgeted(one, budget, experiment.project, parent, datasets) for one in chosen]
    _check_runs(experiment.project, experiment.name, parent, within, datasets, experiment.reward_model)
    try:
        with transaction.atomic():
            for field in ("examples", "prompts"):
                if getattr(experiment, field) is None and frozen[field] is not None:
                    setattr(experiment, field, frozen[field])
            experiment.save(update_fields=["examples", "prompts"])
            added = [_add(experiment, one, by, is_exploratory=True) for one in within]
            names_added = ", ".join(one.name for one in added)
            about = f"{experiment.name}: {names_added}"
            audit.record(action="experiment.arm_added", about=about, by=by, project=experiment.project)
    except IntegrityError as error:  # a double click: its twin came first
        raise _arm_taken(within[0].name) from error
    advance(experiment)
    return added


def retry(*, experiment: Experiment, by: User) -> int:
    """Resume the runs that failed, and order again what was refused; return how many. An experiment that failed goes
    on: nobody has voted on it."""
    require(by, "research", experiment.project)
    failed = Experiment.objects.filter(pk=experiment.pk, state=Experiment.State.FAILED)
    if not failed.update(state=Experiment.State.TRAINING) and experiment.is_over:
        raise Refused(409, state=f"The experiment is {experiment.state}; its runs can be resumed one by one.")
    count = 0
    for run in failed_runs(experiment):
        runs.resume(run=run, by=by)
        count += 1
    count += ArmModel.objects.filter(arm__experiment=experiment).exclude(problem="").update(problem="")
    advance(experiment)
    return count


def failed_runs(experiment: Experiment) -> list[Run]:
    """Return the runs of an experiment that failed or were cancelled."""
    return list(ordered_runs(experiment).filter(state__in=(Run.State.FAILED, Run.State.CANCELLED)).order_by("pk"))


def cancel(*, experiment: Experiment, by: User) -> Experiment:
    """Cancel an experiment and its unfinished runs. Models that stand, and votes, are kept."""
    require(by, "research", experiment.project)
    with transaction.atomic():
        experiment = Experiment.objects.select_for_update().get(pk=experiment.pk)
        if experiment.is_over:
            raise Refused(409, state=f"The experiment is {experiment.state}, so it cannot be cancelled.")
        experiment.state = Experiment.State.CANCELLED
        experiment.save(update_fields=["state"])
        audit.record(action="experiment.cancelled", about=experiment.name, by=by, project=experiment.project)
    for run in ordered_runs(experiment):
        if not run.is_finished:
            runs.cancel(run=run, by=by)
    return experiment


def hash_of(plan: Mapping[str, Any]) -> str:
    """Return the name of a plan: the SHA-256 of its JSON with sorted keys."""
    return hashlib.sha256(json.dumps(plan, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _plan(
    chosen: dict[str, Any], arms: Sequence[Arm], budget: Budget, parent: LanguageModel, dataset: Dataset,
    questions: Dataset, completions_per_prompt: int, measures_tax: bool,
) -> dict[str, Any]:  # fmt: skip
    return {
        "version": 1,
        "test": TEST,
        **chosen,
        "arms": [asdict(arm) for arm in (Arm(BASE, BASE, {}), *arms)],
        "budget": asdict(budget),
        "parent": _named(parent),
        "dataset": _named(dataset),
        "questions": {"id": questions.pk, "hash": questions.content_hash},
        "completions_per_prompt": completions_per_prompt,
        "measures_tax": bool(measures_tax),
    }


def _named(row: Dataset | LanguageModel | None) -> dict[str, Any] | None:
    return {"id": row.pk, "name": row.name, "hash": row.content_hash} if row is not None else None


def _add(experiment: Experiment, arm: Arm, by: User, *, is_exploratory: bool) -> ExperimentArm:
    row = ExperimentArm.objects.create(
        experiment=experiment, name=arm.name, method=arm.method, created_by=by, is_exploratory=is_exploratory,
        config={"config": arm.config, "drawing": arm.drawing},
    )  # fmt: skip
    if arm.method == BASE:
        ArmModel.objects.create(arm=row, seed=0, model=experiment.parent)
    else:
        for seed in experiment.plan["seeds"]:
            ArmModel.objects.create(arm=row, seed=seed)
    return row


def _frozen(
    project: Project, dataset: Dataset, arms: Sequence[Arm], by: User, experiment: Experiment | None = None
) -> dict[str, Dataset | None]:
    """Return what is derived of the dataset, frozen once: its best-rated answers, its prompts; and the eval prompts."""
    takes = {METHODS[arm.method].takes for arm in arms if not METHODS[arm.method].draws_examples}
    takes |= {"prompts" for arm in arms if METHODS[arm.method].draws_examples}
    examples = experiment.examples if experiment else None
    prompts = experiment.prompts if experiment else None
    if "examples" in takes and examples is None:
        examples = _best_rated(project, dataset, by)
    if "prompts" in takes and prompts is None:
        prompts = _once(project, f"prompts of {_short(dataset)}", kind="prompts", by=by, prompts=_prompt_ids(dataset))
    return {"examples": examples, "prompts": prompts, "questions": frozen_prompts(project, Split.EVAL, by, "questions")}


def _best_rated(project: Project, dataset: Dataset, by: User) -> Dataset | None:
    """Return the best-rated answers of the very feedback that the dataset holds; None where there are none."""
    ids = {
        plural: list(getattr(dataset, plural).values_list("pk", flat=True))
        for plural in ("ratings", "comparisons", "demonstrations")
    }
    try:
        return _once(
            project, f"best-rated answers of {_short(dataset)}", kind="sft", by=by, judge=dataset.judge,
            whole_answers=False, **ids,
        )  # fmt: skip
    except Refused as refused:
        if "feedback" in refused.errors:
            return None
        raise


def _short(dataset: Dataset) -> str:
    return f"{dataset.name[:80]} (dataset {dataset.pk})"


def _once(project: Project, name: str, *, kind: str, **options: Any) -> Dataset:
    before = Dataset.objects.filter(project=project, name=name, kind=kind).first()
    return before or freeze(project=project, name=name, kind=kind, **options)


def _prompt_ids(dataset: Dataset) -> list[int]:
    """Return the prompts that the dataset's feedback is about."""
    ids: set[int] = set()
    for model, plural in ((Rating, "ratings"), (Comparison, "comparisons"), (Demonstration, "demonstrations")):
        named = getattr(dataset, plural).values_list("pk", flat=True)
        ids |= set(model.objects.filter(pk__in=named).values_list("prompt_id", flat=True))
    return sorted(ids)


def frozen_prompts(project: Project, side: str, by: User, field: str) -> Dataset:
    """Return all prompts of a split, frozen: as they stand already, or anew. Refused, naming `field`, without any."""
    if latest := sampled_prompts.latest_complete(project, side):
        return latest
    if not sampled_prompts.prompts_to_sample(project, side).exists():
        purpose = "on which models meet" if side == Split.EVAL else "whose answers are annotated"
        raise Refused(409, **{field: f"{project.name} has no prompts in its {side} split, {purpose}; add some."})
    number = Dataset.objects.filter(project=project).count() + 1
    return sampled_prompts.freeze_all(project, side, name=f"{side} prompts {number}", by=by)


def _check_runs(
    project: Project, name: str, parent: LanguageModel, arms: Sequence[Arm], datasets: Mapping[str, Dataset | None],
    reward_model: LanguageModel | None,
) -> None:  # fmt: skip
    """Check the runs as far as they are known: those that wait for a reward model or examples are checked later."""
    errors: dict[str, str] = {}
    for arm in arms:
        method = METHODS[arm.method]
        if method.needs_reward and leaves_out_own_model(arm.drawing if method.draws_examples else arm.config):
            errors[f"arms.{arm.name}.rewards"] = (
                "has no part for the reward model that the experiment gives its arms: add the line reward_model."
            )
            continue
        if method.draws_examples or (method.needs_reward and reward_model is None):
            continue
        try:
            check_order(
                kind=method.kind, project=project, name=f"{name} of {project.slug}: {arm.name}"[:120], parent=parent,
                dataset=datasets.get(method.takes), other_dataset=None,
                reward_model=reward_model if method.needs_reward else None, config=arm.config, seed=0,
            )  # fmt: skip
        except Refused as refused:
            errors |= {f"arms.{arm.name}.{field}": text for field, text in refused.errors.items()}
    if errors:
        raise Refused(400, **errors)


def _free_name(project: Project, name: str) -> str:
    name = checked_name(name, 60)
    if Experiment.objects.filter(project=project, name=name).exists():
        raise _name_taken(project, name)
    return name


def _arm_taken(name: str) -> Refused:
    return Refused(409, **{"arms.0.name": f"There is an arm {name} already; choose another name."})


def _name_taken(project: Project, name: str) -> Refused:
    return Refused(409, name=f"{project.name} already has an experiment {name!r}; choose another name.")
