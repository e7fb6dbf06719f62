"""Check an order of rounds and write its plan; every error names its field and the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from annotate.core.errors import Refused
from annotate.data.datasets.preferences import ENOUGH, ENOUGH_PROMPTS
from annotate.models import AnnotatorKind, Dataset, LanguageModel, Project, Split
from evaluation.experiments import order_checks
from evaluation.experiments.arm_methods import METHODS, Arm
from evaluation.rounds.stop_rules import power
from training import configs

ROUND_METHODS = ("ppo", "dpo", "grpo", "rloo", "rejection", "best_of")
OLDER = ALL, WEIGHTED, NEWEST = ("all", "weighted", "newest")
STARTS = FROM_NEWEST, FROM_FIRST = ("newest", "first")
FEWEST_WITHOUT_REWARD, MOST_JUDGEMENTS, MOST_ROUNDS = 20, 20_000, 50
MOST_VOTES = 100_000
Errors = dict[str, str]


def fewest_judgements(method: str) -> int:
    """Return how many comparisons with a winner a round needs at least: as many as a reward model does."""
    return ENOUGH if METHODS[method].needs_reward else FEWEST_WITHOUT_REWARD


def require_arm(method: Any, config: Any) -> Arm:
    """Return how a round optimises. Raises Refused, naming `method` or `config.<option>`."""
    if method not in ROUND_METHODS:
        raise Refused(400, method=f"{method!r} is not a method of rounds; use one of {', '.join(ROUND_METHODS)}.")
    try:
        [arm] = order_checks.require_arms([{"method": method, "config": config}])
    except Refused as refused:
        raise Refused(400, **{name.removeprefix("arms.0."): text for name, text in refused.errors.items()}) from None
    return arm


def require_reward_config(config: Any, method: str) -> dict[str, Any]:
    """Return the options of the reward model that every round fits. Raises Refused, naming `reward_config.<option>`."""
    if not isinstance(config, Mapping):
        raise Refused(400, reward_config="Enter options by their names: {'features': 'last'}.")
    if config and not METHODS[method].needs_reward:
        raise Refused(400, reward_config=f"{METHODS[method].title} fits no reward model; leave it out.")
    try:
        configs.parse("reward", dict(config))
    except configs.ConfigError as error:
        raise Refused(400, **{f"reward_config.{name}": text for name, text in error.errors.items()}) from None
    return dict(config)


def require_rules(
    *, method: str, rounds: Any, judgements: Any, answers_per_prompt: Any, older: Any, older_weight: Any, starts: Any,
    votes: Any, gain: Any, seconds: Any, accuracy_floor: Any, judge: Any, completions_per_prompt: Any, seed: Any,
) -> dict[str, Any]:  # fmt: skip
    """Return what each round collects and when the rounds stop. Raises Refused by field."""
    errors: Errors = {}
    whole: tuple[tuple[str, Any, int, int], ...] = (
        ("rounds", rounds, 1, MOST_ROUNDS),
        ("judgements", judgements, fewest_judgements(method), MOST_JUDGEMENTS),
        ("answers_per_prompt", answers_per_prompt, 2, 16),
        ("votes", votes, 10, MOST_VOTES),
        ("completions_per_prompt", completions_per_prompt, 1, 16),
        ("seed", seed, 0, 2**31 - 1 - MOST_ROUNDS),
    )
    for name, value, low, high in whole:
        if type(value) is not int or not low <= value <= high:
            errors[name] = f"Enter a whole number from {low:,} to {high:,}."
    if not _is_number(gain) or not 0 < gain <= 1000:
        errors["gain"] = "Enter the smallest gain that is worth another round, in rating points above 0, such as 50."
    if seconds is not None and (not _is_number(seconds) or not 1 <= seconds <= 10**9):
        errors["seconds"] = "Enter the seconds that all runs together may take, or leave it out."
    if older not in OLDER:
        errors["older"] = f"{older!r} is not known; use one of {', '.join(OLDER)}."
    elif older == WEIGHTED and (not _is_number(older_weight) or not 0 < older_weight < 1):
        errors["older_weight"] = "Enter the weight of older annotations between 0 and 1, such as 0.5."
    elif older == WEIGHTED and not METHODS[method].needs_reward:
        errors["older"] = f"{METHODS[method].title} weighs all pairs alike; use {ALL} or {NEWEST}."
    if starts not in STARTS:
        errors["starts"] = f"{starts!r} is not known; use one of {', '.join(STARTS)}."
    if accuracy_floor is not None and not METHODS[method].needs_reward:
        errors["accuracy_floor"] = f"{METHODS[method].title} fits no reward model that could drift; leave it out."
    elif accuracy_floor is not None and (not _is_number(accuracy_floor) or not 0 < accuracy_floor < 1):
        errors["accuracy_floor"] = "Enter a share of pairs between 0 and 1, such as 0.5, or leave it out."
    if judge not in AnnotatorKind.values:
        errors["judge"] = f"{judge!r} is not a kind of annotator; use {' or '.join(AnnotatorKind.values)}."
    if errors:
        raise Refused(400, **errors)
    stop = {"rounds": rounds, "votes": votes, "gain": float(gain), "seconds": seconds, "accuracy_floor": accuracy_floor}
    return {
        **stop, "judgements": judgements, "answers_per_prompt": answers_per_prompt, "older": older,
        "older_weight": float(older_weight) if older == WEIGHTED else None,
        "starts": FROM_FIRST if method == "best_of" else starts, "judge": judge,
        "completions_per_prompt": completions_per_prompt, "seed": seed, "power": round(power(votes, float(gain)), 3),
    }  # fmt: skip


def require_project(project: Project) -> None:
    if not project.asks_comparisons:
        raise Refused(409, judge=f"{project.name} does not ask for comparisons; switch them on in its settings.")


def require_parent(parent: LanguageModel) -> None:
    """Refuse a model that cannot be trained."""
    if parent.kind != LanguageModel.Kind.POLICY or not parent.folder or parent.retired_at is not None:
        raise Refused(
            400, parent=f"{parent.name} cannot be trained; choose a policy that is in use, with weights here."
        )


def require_prompts(project: Project, prompts: Dataset, method: str, judgements: int, answers: int) -> None:
    """Refuse prompts of another kind, and too few for the comparisons of a round."""
    if prompts.project_id != project.pk or prompts.kind != Dataset.Kind.PROMPTS or prompts.side != Split.TRAIN:
        raise Refused(400, prompts=f"{prompts.name} holds no train prompts of {project.name}; freeze some under Data.")
    count = prompts.prompts.count()
    if METHODS[method].needs_reward and count < ENOUGH_PROMPTS:
        raise Refused(
            400, prompts=f"{prompts.name} holds {count} prompts, and a reward model needs {ENOUGH_PROMPTS}; add some."
        )
    pairs = count * answers * (answers - 1) // 2
    if (most := pairs * project.overlap) < judgements:
        raise Refused(
            400,
            judgements=f"{count} prompts with {answers} answers each have {pairs} pairs, for {most} comparisons: order "
            "fewer, or more answers to each prompt, or add prompts.",
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
