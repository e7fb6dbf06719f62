"""Find and check what an order is rewarded by: the reward model beside the config, and those that parts of it name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from annotate.models import Dataset, LanguageModel, Project
from annotate.models.prompts import ARENA, RED_TEAM
from training.configs.rewards import reward_parts
from training.configs.rewards.part_lines import canonical, read_parts
from training.core import reward_trust
from training.core.kinds import Kind
from training.models import Run
from training.storage import reward_evidence

Errors = dict[str, str]
_PRIVATE = (ARENA, RED_TEAM)  # sources of prompts


def named_models(project: Project, config: Any) -> dict[str, LanguageModel]:
    """Return the models that the parts of a checked config name and that are here, by name, in the config's order."""
    names = reward_parts.models_named(parts_of(config))
    models = {model.name: model for model in LanguageModel.objects.usable_in(project).filter(name__in=names)}
    return {name: models[name] for name in names if name in models}


def leaves_out_own_model(options: Mapping[str, Any]) -> bool:
    """Return whether options have parts of a reward, and among them not the reward model that the order names beside
    them. Of parts that are not valid the order's check says more."""
    try:
        parts = read_parts(canonical(options.get("rewards", "")))
    except ValueError:
        return False
    return bool(parts) and not reward_parts.takes_own_model(parts)


def parts_of(config: Any) -> tuple[reward_parts.RewardPart, ...]:
    return read_parts(getattr(config, "rewards", "") or "")


def reward_errors(order: Kind, reward_model: LanguageModel | None, given: dict[str, Any], checked: Any) -> Errors:
    """Return what is wrong with the reward model of an order; `checked` is None where its config is not valid."""
    if not order.takes_reward_model:
        is_given = reward_model is not None
        return {"reward_model": f"A run of kind {order.name} needs no reward model; leave it out."} if is_given else {}
    function = given.get("reward_function")
    if given.get("rewards"):
        if errors := _beside_parts(reward_model, checked):
            return errors
    elif reward_model is None and not function and order.needs_reward_model:
        return {"reward_model": "Choose a reward model, a listed function in config.reward_function, or parts in "
                "config.rewards."}  # fmt: skip
    elif reward_model is not None and function:
        return {"reward_model": "Choose either a reward model or config.reward_function, not both."}
    return {} if reward_model is None else _as_field("reward_model", _unusable(reward_model))


def _beside_parts(reward_model: LanguageModel | None, checked: Any) -> Errors:
    """Return how the reward model beside the config and the parts in it disagree."""
    if checked is None:
        return {}
    parts = parts_of(checked)
    takes_own = reward_parts.takes_own_model(parts)
    if reward_model is None:
        return {"reward_model": "Choose the model of the part reward_model in config.rewards."} if takes_own else {}
    if not takes_own and reward_model.name not in reward_parts.models_named(parts):
        return {
            "reward_model": f"No part of config.rewards is {reward_model.name}: add the line reward_model there, or "
            "choose no reward model."
        }
    return {}


def part_errors(project: Project, dataset: Dataset | None, checked: Any) -> Errors:
    """Return what is wrong with the parts of a reward that only the site can tell, by part."""
    return _model_errors(project, checked) | _answer_errors(dataset, checked) | _judge_errors(project, dataset, checked)


def _model_errors(project: Project, checked: Any) -> Errors:
    models, errors = named_models(project, checked), {}
    for index, part in enumerate(parts_of(checked)):
        if not isinstance(part, reward_parts.ModelPart):
            continue
        for name in part.names:
            model = models.get(name)
            if model is None:
                text = f"{name} is no reward model of {project.name}; name one of its own, or a shared one."
            else:
                text = _unusable(model) or _untrusted(model, checked)
            if text:
                errors[f"config.rewards[{index}].models"] = text
    return errors


def _answer_errors(dataset: Dataset | None, checked: Any) -> Errors:
    """Return which part compares with right answers that the dataset's prompts lack."""
    places = reward_parts.needs_answers(parts_of(checked))
    if dataset is None or not places:
        return {}
    total = dataset.counts.get("prompts", 0)
    missing = total - dataset.counts.get("right_answers", 0)
    if not missing:
        return {}
    return {
        f"config.rewards[{places[0]}]": f"compares with right answers, and {missing:,} of the {total:,} prompts of "
        f"{dataset.name} have none: add them under Data, Prompts and freeze the prompts again, or freeze those of a "
        "category or source that has them."
    }


def asked_judges(run: Run) -> dict[str, LanguageModel]:
    """Return the judges that a run asks, by the names of their parts, as they stand now."""
    judges = reward_parts.judges_of(read_parts(run.config.get("rewards") or ""))
    usable = _judge_models(run.project, judges)
    return {name: usable[part.judge.strip()] for name, part in judges.items() if part.judge.strip() in usable}


def _judge_errors(project: Project, dataset: Dataset | None, checked: Any) -> Errors:
    """Return what is wrong with the judges among the parts. What visitors asked leaves this site for no judge."""
    parts = parts_of(checked)
    judges, errors = _judge_models(project, reward_parts.judges_of(parts)), {}
    for index, part in enumerate(parts):
        if not isinstance(part, reward_parts.JudgePart):
            continue
        model = judges.get(part.judge.strip())
        if model is None:
            errors[f"config.rewards[{index}].judge"] = (
                f"{part.judge} is no model of {project.name} with an endpoint; add one under Models, or name another."
            )
        elif part.max_cost is not None and None in (model.prompt_price, model.completion_price):
            errors[f"config.rewards[{index}].max_cost"] = (
                f"{model.name} has no prices; enter them on its page, or leave max_cost out."
            )
        elif dataset is not None and (private := dataset.prompts.filter(source__in=_PRIVATE).count()):
            errors[f"config.rewards[{index}]"] = (
                f"asks a model elsewhere, and {private:,} prompts of {dataset.name} were asked in the arena or in red "
                "teaming, which no judge gets: freeze prompts of other sources."
            )
    return errors


def _judge_models(project: Project, judges: dict[str, reward_parts.JudgePart]) -> dict[str, LanguageModel]:
    names = {part.judge.strip() for part in judges.values()}
    if not names:
        return {}
    usable = LanguageModel.objects.usable_in(project).available().filter(name__in=names).exclude(endpoint="")
    return {model.name: model for model in usable}


def trust_errors(reward_model: LanguageModel | None, config: Any) -> Errors:
    """Refuse a reward model that did not beat chance, unless the config explicitly trusts it."""
    return {} if reward_model is None else _as_field("reward_model", _untrusted(reward_model, config))


def _unusable(model: LanguageModel) -> str:
    if model.kind != LanguageModel.Kind.REWARD:
        return f"{model.name} is a {model.kind} and does not score; choose a reward model."
    if model.path is None:
        return f"{model.name} has no weights on this machine; choose another reward model."
    return ""


def _untrusted(model: LanguageModel, config: Any) -> str:
    if model.path is None or getattr(config, reward_trust.OVERRULE, True):
        return ""
    evidence = reward_evidence.of_model(model)
    return f"{evidence.sentence} {reward_trust.REMEDY}" if evidence.refuses else ""


def _as_field(name: str, text: str) -> Errors:
    return {name: text} if text else {}
