"""Freeze what an experiment learns from and is asked, and register its plan.

Small datasets are frozen by the order itself. For large ones it waits in the state `freezing`, with their orders in its
plan, and whoever looks calls `begin`, which registers the plan and its arms once all of them stand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from django.db import transaction
from django.db.models import Q

from annotate.core.errors import Refused
from annotate.data.datasets import sampled_prompts
from annotate.data.datasets.freezing import cancel_freezes, freeze_once, name_of_same, outcome
from annotate.models import (
    Comparison,
    Dataset,
    DatasetFreeze,
    Demonstration,
    LanguageModel,
    Project,
    Rating,
    Split,
    User,
)
from evaluation.experiments import experiment_results, order_checks
from evaluation.experiments.arm_methods import BASE, METHODS, Arm, Budget
from evaluation.models import ArmModel, Experiment, ExperimentArm
from training.models import Run
from training.runs.ordering.checks import check_order
from training.runs.ordering.reward_order import leaves_out_own_model

FIELDS = ("examples", "prompts", "questions")  # what is frozen for an experiment, beside its annotations
Frozen = Mapping[str, Dataset | DatasetFreeze | None]


@dataclass(frozen=True)
class Wish:
    """Hold what an experiment, or an arm that is added to it, is ordered with."""

    project: Project
    name: str
    parent: LanguageModel
    dataset: Dataset
    reward_model: LanguageModel | None
    budget: Budget
    completions_per_prompt: int

    @property
    def named_rows(self) -> dict[str, Dataset | LanguageModel | None]:
        """Return what the plan names."""
        return {"parent": self.parent, "dataset": self.dataset, "reward_model": self.reward_model}


def hash_of(plan: Mapping[str, Any]) -> str:
    """Return the name of a plan: the SHA-256 of its JSON with sorted keys."""
    return hashlib.sha256(json.dumps(plan, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def wish_of(experiment: Experiment) -> Wish:
    return Wish(
        experiment.project, experiment.name, experiment.parent, experiment.dataset, experiment.reward_model,
        Budget(**experiment.plan["budget"]), experiment.plan["completions_per_prompt"],
    )  # fmt: skip


def freeze_data(wish: Wish, arms: Sequence[Arm], by: User, experiment: Experiment | None = None) -> Frozen:
    """Return what is derived of the dataset, frozen once: its best-rated answers, its prompts; and the eval prompts. A
    large one is an order until the background worker has frozen it."""
    needed = {_field_of(arm) for arm in arms}
    found: dict[str, Dataset | DatasetFreeze | None]
    found = {field: getattr(experiment, field) if experiment else None for field in FIELDS}
    found |= {field: outcome(order) for field, order in _orders(experiment).items()} if experiment else {}
    if "examples" in needed and found["examples"] is None:
        found["examples"] = _best_rated(wish, by)
    if "prompts" in needed and found["prompts"] is None:
        found["prompts"] = _prompts(wish, by)
    if found["questions"] is None:
        found["questions"] = sampled_prompts.complete_or_frozen(wish.project, Split.EVAL, by, "questions")
    return found


def frozen_now(frozen: Frozen) -> dict[str, Dataset | None]:
    """Return those that stand."""
    return {field: row for field, row in frozen.items() if not isinstance(row, DatasetFreeze)}


def is_waiting(frozen: Frozen) -> bool:
    return any(isinstance(row, DatasetFreeze) for row in frozen.values())


def checked(wish: Wish, arms: Sequence[Arm], frozen: Frozen) -> list[Arm]:
    """Return the arms with the options that keep them within the budget. Refused by field; what is still being frozen
    is checked when it stands."""
    stands = {**frozen_now(frozen), "preferences": wish.dataset}
    order_checks.check_data(
        arms, wish.dataset, has_examples=frozen["examples"] is not None, has_reward_model=wish.reward_model is not None
    )
    ready = [arm for arm in arms if _field_of(arm) in stands]
    questions = stands.get("questions")
    shown = wish.completions_per_prompt * questions.prompts.count() if questions is not None else 0
    within = {
        arm.name: order_checks.budgeted(arm, wish.budget, wish.project, wish.parent, stands, shown) for arm in ready
    }
    _check_runs(wish, list(within.values()), stands)
    return [within.get(arm.name, arm) for arm in arms]


def registered(draft: Mapping[str, Any], arms: Sequence[Arm], frozen: Frozen) -> dict[str, Any]:
    """Return the plan with its arms and datasets; one that is still being frozen has its order instead of a hash."""
    plan = {**draft, "arms": [asdict(arm) for arm in (Arm(BASE, BASE, {}), *arms)]}
    return plan | {field: named(row) for field, row in frozen.items()}


def named(row: Dataset | DatasetFreeze | LanguageModel | None) -> dict[str, Any] | None:
    if row is None or isinstance(row, DatasetFreeze):
        return {"order": row.pk, "name": row.name} if row is not None else None
    return {"id": row.pk, "name": row.name, "hash": row.content_hash}


def add(experiment: Experiment, arm: Arm, by: User, *, is_exploratory: bool) -> ExperimentArm:
    row = ExperimentArm.objects.create(
        experiment=experiment, name=arm.name, method=arm.method, created_by=by, is_exploratory=is_exploratory,
        config={"config": arm.config, "drawing": arm.drawing}
        | ({"takes_checkpoints": True} if arm.takes_checkpoints else {}),
    )  # fmt: skip
    if arm.method == BASE:
        ArmModel.objects.create(arm=row, seed=0, model=experiment.parent)
    else:
        for seed in experiment.plan["seeds"]:
            ArmModel.objects.create(arm=row, seed=seed)
    return row


def add_all(experiment: Experiment, arms: Sequence[Arm], by: User) -> None:
    """Add the arms of the plan, and the base."""
    for arm in (Arm(BASE, BASE, {}), *arms):
        add(experiment, arm, by, is_exploratory=False)


def begin(experiment: Experiment) -> None:
    """Register the plan and its arms once everything is frozen. What refuses it fails the experiment, with the words:
    it can be tried again."""
    try:
        _register(experiment)
    except Refused as refused:
        problem = " ".join(refused.errors.values())
        live = Experiment.objects.filter(pk=experiment.pk, state=Experiment.State.FREEZING)
        with transaction.atomic():
            if live.update(state=Experiment.State.FAILED, problem=problem):
                experiment_results.tell(experiment, f"has failed before its training: {problem}")
    experiment.refresh_from_db()


def _register(experiment: Experiment) -> None:
    by, plan, wish = experiment.created_by, experiment.plan, wish_of(experiment)
    if by is None:
        raise Refused(409, by="The account that ordered the experiment is gone; order a new one.")
    arms = [Arm(**arm) for arm in plan["arms"] if arm["method"] != BASE]
    frozen = freeze_data(wish, arms, by, experiment)
    live = Experiment.objects.filter(pk=experiment.pk, state=Experiment.State.FREEZING)
    if is_waiting(frozen):
        # There may be another order, of what failed.
        experiment.plan = plan | {k: named(row) for k, row in frozen.items() if isinstance(row, DatasetFreeze)}
        is_live = live.exists() if experiment.plan == plan else live.update(plan=experiment.plan)
        if not is_live:  # cancelled meanwhile, perhaps before it saw these orders
            cancel_freezing(experiment, by)
        return
    within = checked(wish, arms, frozen)
    plan = registered(plan, within, frozen)
    with transaction.atomic():
        fields = {"plan": plan, "plan_hash": hash_of(plan), **frozen}
        if live.update(state=Experiment.State.TRAINING, **fields):
            experiment.refresh_from_db()
            add_all(experiment, within, by)


def revive(run: Run) -> None:
    """Let an experiment that failed go on where a run that it failed for was resumed and has ended well: nobody has
    voted on it."""
    if run.state != Run.State.SUCCEEDED:
        return
    models = ArmModel.objects.filter(Q(examples_run=run) | Q(training_run=run) | Q(answers_run=run))
    arms = models.filter(arm__is_exploratory=False).values("arm__experiment")
    failed = Experiment.objects.filter(Q(pk__in=arms) | Q(reward_run=run), state=Experiment.State.FAILED)
    failed.update(state=Experiment.State.TRAINING, problem="")


def freezes_of(experiment: Experiment) -> list[DatasetFreeze]:
    """Return the orders that the experiment waits for, first to last."""
    return sorted((one for one in _orders(experiment).values() if one.is_under_way), key=lambda one: one.pk)


def cancel_freezing(experiment: Experiment, by: User) -> None:
    """Cancel the orders that the experiment waited for, but those that another one waits for."""
    others = Experiment.objects.filter(project=experiment.project, state=Experiment.State.FREEZING)
    needed = {order.pk for other in others.exclude(pk=experiment.pk) for order in freezes_of(other)}
    cancel_freezes((order for order in freezes_of(experiment) if order.pk not in needed), by=by)


def _orders(experiment: Experiment) -> dict[str, DatasetFreeze]:
    """Return the orders of its plan by field, those of what stands now, too."""
    found: dict[str, DatasetFreeze] = {}
    for field in FIELDS:
        row = experiment.plan.get(field)
        if row is None or "hash" in row:
            continue
        orders = DatasetFreeze.objects.filter(project=experiment.project)
        if "order" in row:
            orders = orders.filter(pk=row["order"])
        else:  # earlier versions kept the name; what came after the experiment may be somebody else's
            orders = orders.filter(name=row["name"], created_at__lte=experiment.created_at)
        if order := orders.select_related("dataset").first():
            found[field] = order
    return found


def _field_of(arm: Arm) -> str:
    """Return which dataset the first run of an arm takes."""
    method = METHODS[arm.method]
    return "prompts" if method.draws_examples else method.takes


def _best_rated(wish: Wish, by: User) -> Dataset | DatasetFreeze | None:
    """Return the best-rated answers of the feedback that the dataset holds and that still counts; None where there are
    none."""
    # What was withdrawn since the dataset was frozen would be refused, each time anew.
    ids = {
        plural: list(table.objects.teaching().filter(datasets=wish.dataset).values_list("pk", flat=True))
        for plural, table in (("ratings", Rating), ("comparisons", Comparison), ("demonstrations", Demonstration))
    }
    options: dict[str, Any] = {"whole_answers": False, **ids}
    name = _own_name(wish, "examples", f"best-rated answers of {_short(wish.dataset)}", options)
    try:
        return freeze_once(
            project=wish.project, name=name, kind=Dataset.Kind.SFT, by=by, judge=wish.dataset.judge, keeps_order=True,
            **options,
        )  # fmt: skip
    except Refused as refused:
        if "feedback" in refused.errors:
            return None
        raise


def _prompts(wish: Wish, by: User) -> Dataset | DatasetFreeze:
    """Return the prompts that the dataset's feedback is about."""
    ids: set[int] = set()
    for model, plural in ((Rating, "ratings"), (Comparison, "comparisons"), (Demonstration, "demonstrations")):
        rows = getattr(wish.dataset, plural).values_list("pk", flat=True)
        ids |= set(model.objects.filter(pk__in=rows).values_list("prompt_id", flat=True))
    options: dict[str, Any] = {"prompts": sorted(ids)}
    name = _own_name(wish, "prompts", f"prompts of {_short(wish.dataset)}", options)
    return freeze_once(project=wish.project, name=name, kind=Dataset.Kind.PROMPTS, by=by, keeps_order=True, **options)


def _own_name(wish: Wish, field: str, stem: str, options: Mapping[str, Any]) -> str:
    """Return the name of what is frozen of the dataset: the stem, or that with the first number that it has of no
    other. What neither an experiment nor such an order has frozen may hold what somebody chose."""
    frozen = Experiment.objects.filter(dataset=wish.dataset).exclude(**{field: None}).values(field)
    return name_of_same(wish.project, stem, lambda order: _is_same(order.options, options, wish.dataset), frozen)


def _is_same(kept: Mapping[str, Any], options: Mapping[str, Any], dataset: Dataset) -> bool:
    """Return whether an order freezes what these options say, or did before some of the feedback was withdrawn."""
    return kept.keys() == options.keys() and all(
        set(wanted) <= set(kept[field]) <= set(getattr(dataset, field).values_list("pk", flat=True))
        if isinstance(wanted, list) and field != "prompts"
        else kept[field] == wanted
        for field, wanted in options.items()
    )


def _short(dataset: Dataset) -> str:
    return f"{dataset.name[:80]} (dataset {dataset.pk})"


def _check_runs(wish: Wish, arms: Sequence[Arm], datasets: Mapping[str, Dataset | None]) -> None:
    """Check the runs as far as they are known: those that wait for a reward model or examples are checked later."""
    errors: dict[str, str] = {}
    for arm in arms:
        method = METHODS[arm.method]
        if method.needs_reward and leaves_out_own_model(arm.drawing if method.draws_examples else arm.config):
            errors[f"arms.{arm.name}.rewards"] = (
                "has no part for the reward model that the experiment gives its arms: add the line reward_model."
            )
            continue
        if method.draws_examples or (method.needs_reward and wish.reward_model is None):
            continue
        try:
            check_order(
                kind=method.kind, project=wish.project, name=f"{wish.name} of {wish.project.slug}: {arm.name}"[:120],
                parent=wish.parent, dataset=datasets.get(method.takes), other_dataset=None,
                reward_model=wish.reward_model if method.needs_reward else None, config=arm.config, seed=0,
            )  # fmt: skip
        except Refused as refused:
            errors |= {f"arms.{arm.name}.{field}": text for field, text in refused.errors.items()}
    if errors:
        raise Refused(400, **errors)
