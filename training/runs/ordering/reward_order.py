"""Find and check what an order is rewarded by: the reward model beside the config, and those that parts of it name."""

from __future__ import annotations

from typing import Any

from annotate.models import Dataset, LanguageModel, Project
from training.configs.rewards import reward_parts
from training.configs.rewards.part_lines import read_parts
from training.core import reward_trust
from training.core.kinds import Kind
from training.storage import reward_evidence

Errors = dict[str, str]


def named_models(project: Project, config: Any) -> dict[str, LanguageModel]:
    """Return the models that the parts of a checked config name and that are here, by name, in the config's order."""
    names = reward_parts.models_named(parts_of(config))
    models = {model.name: model for model in LanguageModel.objects.usable_in(project).filter(name__in=names)}
    return {name: models[name] for name in names if name in models}


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


def part_errors(project: Project, checked: Any) -> Errors:
    """Return what is wrong with the models that parts name, by part."""
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


def answer_errors(dataset: Dataset | None, checked: Any) -> Errors:
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
