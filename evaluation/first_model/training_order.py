"""Take the last of the five steps: freeze the annotations and order the runs that learn from them."""

from __future__ import annotations

import logging
from typing import Any

from annotate.core.errors import Refused
from annotate.core.periodic_tasks import each_alone
from annotate.core.permissions import require
from annotate.data.datasets.actions import freeze
from annotate.data.datasets.freezing import freeze_once
from annotate.models import Dataset, DatasetFreeze, LanguageModel, Project, User
from common.texts import first_free
from evaluation.first_model import facts
from evaluation.first_model.actions import (
    SAMPLING,
    choose_model,
    free_name,
    key_of_one_press,
    order_sampling,
    require_base,
    require_not_freezing,
    save_path,
    train_prompts,
)
from evaluation.first_model.recipe_choice import DPO, KTO, PPO, SFT, Choice
from evaluation.models import FirstModel
from training.core import reward_trust
from training.models import Run
from training.runs.ordering.actions import queue_run

log = logging.getLogger("assay.first_model")
PPO_PROMPTS = "ppo prompts"  # what PPO waits for, beside the kinds of run that wait for annotations
_FROZEN: dict[str, Any] = {"freeze": None, "once_frozen": None}
REMEDY = (
    "Annotate more answers, on more prompts, and train again; or use it anyway: the Training step has a button "
    "for that."
)


def train(
    *,
    project: Project,
    by: User,
    kind: str = "",
    name: str = "",
    model: LanguageModel | None = None,
    waits: bool = False,
) -> Run | None:
    """Freeze the annotations and order the run that learns from them; of kind "" the one that is proposed. `model` is
    the one to start from, where the project has chosen none yet or its path has led to a child.

    Many annotations are frozen in the background, unless somebody `waits`; the run follows (`go_on_after_freezing`),
    and None is returned. For PPO the reward model's run comes first, and PPO's follows (`go_on_after_reward`)."""
    require(by, "research", project)
    path = facts.path_of(project)
    chosen = model if facts.is_model_chosen_now(path) else None
    base = chosen or require_base(path)
    if facts.is_under_way(path.training_run) or facts.is_under_way(path.reward_run):
        raise Refused(409, training="A run is active; wait for its end, or cancel it.")
    require_not_freezing(path)
    _, choice = facts.choice_of(path)
    kind = _require_possible(kind, choice)
    if base.path is None:
        raise Refused(
            409,
            model=f"Training needs the weights of {base.name} on this site, but only its endpoint is registered. "
            "Import them as a model, or register the endpoint together with its folder.",
        )
    if chosen is not None:
        path = choose_model(project=project, model=chosen, by=by)
    once = key_of_one_press(path, kind)
    child = name.strip() or free_name(f"{base.name[:100]}-{kind}")
    frozen = _annotations(project, child, by, kind, waits=waits)
    if isinstance(frozen, DatasetFreeze):
        save_path(project, freeze=frozen, once_frozen={"kind": kind, "child": child, "key": once})
        return None
    return _order(path, base, kind, child, frozen, by, once)


def go_on_after_freezing() -> bool:
    """Do the periodic task: order the runs that wait for a dataset that is frozen now. A second look, or one after a
    kill, orders nothing twice: the run is found by its key."""
    waiting = FirstModel.objects.filter(freeze__isnull=False, once_frozen__isnull=False)
    ended = waiting.exclude(freeze__state__in=DatasetFreeze.UNDER_WAY).values("project")
    each_alone(Project.objects.filter(pk__in=ended), _go_on, log, "The first model of %s waits; trying again.")
    return False


def _go_on(project: Project) -> None:
    path = facts.path_of(project)
    if path.freeze is not None and path.once_frozen is not None and not path.freeze.is_under_way:
        _order_frozen(path, path.freeze, path.once_frozen)


def _order_frozen(path: FirstModel, freeze: DatasetFreeze, wish: dict[str, Any]) -> None:
    by, dataset = freeze.created_by, freeze.dataset
    if dataset is None or by is None:  # it says why
        save_path(path.project, once_frozen=None)
        return
    try:
        base = require_base(path)
        if wish["kind"] == SAMPLING:
            order_sampling(path, base, dataset, by, wish["config"], wish["key"])
        elif wish["kind"] == PPO_PROMPTS:
            _order_ppo(path, base, dataset, by, trusts_unproven=wish["trusts_unproven"])
        else:
            _order(path, base, wish["kind"], wish["child"], dataset, by, wish["key"])
    except Refused as refused:
        problem = " ".join(refused.errors.values())
        if wish["kind"] == PPO_PROMPTS:
            save_path(path.project, problem=problem, **_FROZEN)
            return
        # Kept with the order: a `problem` of the path is one of its reward model.
        DatasetFreeze.objects.filter(pk=freeze.pk).update(problem=problem)
        save_path(path.project, once_frozen=None)


def _order(path: FirstModel, base: LanguageModel, kind: str, child: str, dataset: Dataset, by: User, once: str) -> Run:
    """Order the run that learns from the dataset, under a key by which it is ordered once."""
    project = path.project
    if kind == PPO:
        reward_name = free_name(f"{base.name[:100]}-reward")
        run = queue_run(
            kind="reward", project=project, name=reward_name, by=by, parent=base, dataset=dataset,
            idempotency_key=once, is_step=True,
        )  # fmt: skip
        save_path(project, reward_run=run, training_run=None, problem="", **_FROZEN)
        return run
    run = queue_run(
        kind=kind, project=project, name=child, by=by, parent=base, dataset=dataset, idempotency_key=once, is_step=True
    )
    save_path(project, training_run=run, **_FROZEN)
    return run


def go_on_after_reward(run: Run) -> None:
    """Order PPO when the path's reward model has come; called at the end of every run. What refuses it is kept to be
    shown: the annotations can be learnt from otherwise."""
    path = FirstModel.objects.filter(reward_run=run, training_run=None).select_related("project").first()
    if path is None or run.state != Run.State.SUCCEEDED or run.created_by is None:
        return
    try:
        start_ppo(project=path.project, by=run.created_by, was_allowed=True)
    except Refused as refused:
        save_path(path.project, problem=" ".join(refused.errors.values()))


def start_ppo(*, project: Project, by: User, trusts_unproven: bool = False, was_allowed: bool = False) -> Run | None:
    """Order PPO against the path's reward model. Its answers have the length of those that were annotated. With
    `trusts_unproven` a reward model that did not beat chance is used all the same. Many prompts are frozen in the
    background; the run follows, and None is returned. `was_allowed`: it follows a reward model that `by` had the right
    to order, and is carried out though they have left since."""
    if not was_allowed:
        require(by, "research", project)
    path = facts.path_of(project)
    base, reward_run = require_base(path), path.reward_run
    if facts.is_under_way(path.training_run):
        raise Refused(409, training="A run is active; wait for its end, or cancel it.")
    if reward_run is None or reward_run.output_model is None:
        raise Refused(409, reward_model="There is no reward model yet.")
    require_not_freezing(path)
    prompts = train_prompts(project, base, by)
    if isinstance(prompts, DatasetFreeze):
        wish = {"kind": PPO_PROMPTS, "trusts_unproven": trusts_unproven}
        save_path(project, freeze=prompts, once_frozen=wish, problem="")
        return None
    return _order_ppo(path, base, prompts, by, trusts_unproven=trusts_unproven)


def _order_ppo(path: FirstModel, base: LanguageModel, prompts: Dataset, by: User, *, trusts_unproven: bool) -> Run:
    """Order PPO on these prompts, under a key by which it is ordered once."""
    project, reward_run = path.project, path.reward_run
    if reward_run is None or reward_run.output_model is None:
        raise Refused(409, reward_model="There is no reward model yet.")
    # Nobody may be watching: at a bound it keeps the last model within it.
    config = {"at_bound": "finish", "max_new_tokens": facts.answer_tokens(path)}
    try:
        run = queue_run(
            kind=PPO,
            project=project,
            name=free_name(f"{base.name[:100]}-{PPO}"),
            by=by,
            parent=base,
            dataset=prompts,
            reward_model=reward_run.output_model,
            config=config | {reward_trust.OVERRULE: trusts_unproven},
            idempotency_key=f"first-model:{reward_run.pk}:{path.training_run_id or 0}",
            was_allowed=True,
        )
    except Refused as refused:
        errors = {name: text.replace(reward_trust.REMEDY, REMEDY) for name, text in refused.errors.items()}
        raise Refused(refused.status, **errors) from refused
    save_path(project, training_run=run, problem="", **_FROZEN)
    return run


def _require_possible(kind: str, choice: Choice) -> str:
    if not kind:
        if choice.proposed is None:
            raise Refused(409, kind=" ".join(option.reason for option in choice.options if option.kind != PPO))
        return choice.proposed.kind
    option = choice.option(kind)
    if option is None:
        raise Refused(400, kind=f"{kind!r} is no recipe here; use one of {PPO}, {DPO}, {KTO}, {SFT}.")
    if not option.is_possible:
        raise Refused(409, kind=option.reason)
    return kind


def _annotations(project: Project, child: str, by: User, kind: str, *, waits: bool) -> Dataset | DatasetFreeze:
    judge = facts.annotator_kind_of(project)
    ended = DatasetFreeze.objects.filter(project=project).exclude(state__in=DatasetFreeze.UNDER_WAY)

    def is_taken(name: str) -> bool:
        return project.datasets.filter(name=name).exists() or ended.filter(name=name).exists()

    name = first_free(f"annotations for {child[:90]}", is_taken, "{} {}")
    wish: dict[str, Any] = {"kind": Dataset.Kind.PREFERENCES}
    if kind == SFT:
        wish = {"kind": Dataset.Kind.SFT, "whole_answers": False}
    return (freeze if waits else freeze_once)(project=project, name=name, by=by, judge=judge, **wish)
