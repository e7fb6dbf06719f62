"""Take the last of the five steps: freeze the annotations and order the runs that learn from them."""

from __future__ import annotations

from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.data.datasets.actions import freeze
from annotate.models import Dataset, LanguageModel, Project, User
from evaluation.first_model import facts
from evaluation.first_model.actions import (
    choose_model,
    free_name,
    key_of_one_press,
    require_base,
    save_path,
    train_prompts,
)
from evaluation.first_model.new_projects import first_free
from evaluation.first_model.recipe_choice import DPO, KTO, PPO, SFT, Choice
from evaluation.models import FirstModel
from training.core import reward_trust
from training.models import Run
from training.runs.ordering.actions import queue_run

REMEDY = (
    "Annotate more answers, on more prompts, and train again; or use it anyway: the Training step has a button "
    "for that."
)


def train(*, project: Project, by: User, kind: str = "", name: str = "", model: LanguageModel | None = None) -> Run:
    """Freeze the annotations and order the run that learns from them; of kind "" the one that is proposed. `model` is
    the one to start from, where the project has chosen none yet or its path has led to a child.

    For PPO the reward model's run comes first, and PPO's follows by itself (`go_on_after_reward`)."""
    require(by, "research", project)
    path = facts.path_of(project)
    chosen = model if facts.is_model_chosen_now(path) else None
    base = chosen or require_base(path)
    if facts.is_under_way(path.training_run) or facts.is_under_way(path.reward_run):
        raise Refused(409, training="A run is active; wait for its end, or cancel it.")
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
    dataset = _annotations(project, child, by, kind)
    if kind == PPO:
        reward_name = free_name(f"{base.name[:100]}-reward")
        run = queue_run(
            kind="reward", project=project, name=reward_name, by=by, parent=base, dataset=dataset, idempotency_key=once
        )
        save_path(project, reward_run=run, training_run=None, problem="")
        return run
    run = queue_run(kind=kind, project=project, name=child, by=by, parent=base, dataset=dataset, idempotency_key=once)
    save_path(project, training_run=run)
    return run


def go_on_after_reward(run: Run) -> None:
    """Order PPO when the path's reward model has come; called at the end of every run. What refuses it is kept to be
    shown: the annotations can be learnt from otherwise."""
    path = FirstModel.objects.filter(reward_run=run, training_run=None).select_related("project").first()
    if path is None or run.state != Run.State.SUCCEEDED or run.created_by is None:
        return
    try:
        start_ppo(project=path.project, by=run.created_by)
    except Refused as refused:
        save_path(path.project, problem=" ".join(refused.errors.values()))


def start_ppo(*, project: Project, by: User, trusts_unproven: bool = False) -> Run:
    """Order PPO against the path's reward model. Its answers have the length of those that were annotated. With
    `trusts_unproven` a reward model that did not beat chance is used all the same."""
    require(by, "research", project)
    path = facts.path_of(project)
    base, reward_run = require_base(path), path.reward_run
    if facts.is_under_way(path.training_run):
        raise Refused(409, training="A run is active; wait for its end, or cancel it.")
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
            dataset=train_prompts(project, base, by),
            reward_model=reward_run.output_model,
            config=config | {reward_trust.OVERRULE: trusts_unproven},
            idempotency_key=f"first-model:{reward_run.pk}:{path.training_run_id or 0}",
        )
    except Refused as refused:
        errors = {name: text.replace(reward_trust.REMEDY, REMEDY) for name, text in refused.errors.items()}
        raise Refused(refused.status, **errors) from refused
    save_path(project, training_run=run, problem="")
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


def _annotations(project: Project, child: str, by: User, kind: str) -> Dataset:
    judge = facts.annotator_kind_of(project)
    name = first_free(f"annotations for {child[:90]}", " ", lambda name: project.datasets.filter(name=name).exists())
    if kind == SFT:
        return freeze(project=project, kind=Dataset.Kind.SFT, name=name, by=by, judge=judge, whole_answers=False)
    return freeze(project=project, kind=Dataset.Kind.PREFERENCES, name=name, by=by, judge=judge)
