"""Check an order of an experiment before anything is made of it; every error names its field and the remedy."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from annotate.core.errors import Refused
from annotate.models import AnnotatorKind, Dataset, LanguageModel, Project
from common.texts import is_storable
from evaluation.experiments import arm_methods
from evaluation.experiments.arm_methods import BASE, METHODS, NO_BUDGET, Arm, Budget
from evaluation.experiments.family_tests import AGAINST_BASELINE, ALL_PAIRS
from training import configs
from training.configs.preference import FEWEST_OF_EACH, FEWEST_PAIRS
from training.runs.present.run_estimates import START_SECONDS, PlannedRun, estimate

MOST_VOTES, MOST_SEEDS = 200_000, 16  # votes are read at once, when the rule is met
Errors = dict[str, str]


def require_arms(given: Any, field: str = "arms", *, budget: Budget = NO_BUDGET) -> list[Arm]:
    """Return the arms with their sweeps spread out, each valid by itself. Raises Refused, naming `arms.<n>.…`."""
    if not isinstance(given, list) or not given or not all(isinstance(one, Mapping) for one in given):
        names = ", ".join(arm_methods.ORDERED)
        raise Refused(400, **{field: f"Enter a list of arms, such as {{'method': 'dpo'}}; the methods are {names}."})
    errors: Errors = {}
    arms: list[Arm] = []
    for number, one in enumerate(given):
        place = f"{field}.{number}"
        if one.get("method") not in arm_methods.ORDERED:
            names = ", ".join(arm_methods.ORDERED)
            errors[f"{place}.method"] = f"{one.get('method')!r} is not a method; use one of {names}."
        elif wrong := _sweep_error(one.get("sweep")):
            errors[f"{place}.sweep"] = wrong
        elif not isinstance(one.get("config") or {}, Mapping):
            errors[f"{place}.config"] = "Enter options by their names: {'beta': 0.1}."
        else:
            for name, config in arm_methods.expanded(one, budget):
                arm = _arm(name, one["method"], config, place, errors)
                arms.append(_with_checkpoints(arm, place, errors) if one.get("takes_checkpoints") else arm)
    errors |= _name_errors([arm.name for arm in arms], field)
    if errors:
        raise Refused(400, **errors)
    return arms


def _arm(name: str, method: str, config: dict[str, Any], place: str, errors: Errors) -> Arm:
    kind = METHODS[method].kind
    own, others = arm_methods.options_of(kind, config) if METHODS[method].draws_examples else (config, {})
    for of, options in ((kind, own), ("rejection", others)):
        try:
            configs.parse(of, {**(METHODS[method].options if of == kind else {}), **options})
        except configs.ConfigError as error:
            errors.update({f"{place}.config.{option}": text for option, text in error.errors.items()})
    return Arm(name, method, {**METHODS[method].options, **own}, others)


def _with_checkpoints(arm: Arm, place: str, errors: Errors) -> Arm:
    """Return an arm whose kept checkpoints are rated, too; note where it would keep none."""
    kept: Any = arm.config.get("kept_checkpoints")
    if not _is_whole(kept) or kept < 1:
        errors.setdefault(
            f"{place}.config.kept_checkpoints",
            f"is not set, and {arm.name} takes its checkpoints along: enter how many it keeps, or leave "
            "takes_checkpoints out.",
        )
        return arm
    if len(arm.name) > arm_methods.LONGEST_WITH_STEP:
        errors[f"{place}.name"] = (
            f"has {len(arm.name)} characters; use at most {arm_methods.LONGEST_WITH_STEP}: checkpoints add their step."
        )
    return replace(arm, takes_checkpoints=True)


def _sweep_error(sweep: Any) -> str:
    if not sweep:
        return ""
    if not isinstance(sweep, Mapping) or not all(isinstance(v, list) and v for v in sweep.values()):
        return "Enter values for each option: {'beta': [0.05, 0.1, 0.3]}."
    if (points := math.prod(len(values) for values in sweep.values())) > arm_methods.MOST_ARMS:
        return f"These are {points} arms; order at most {arm_methods.MOST_ARMS}, with fewer values."
    return ""


def _name_errors(names: Sequence[str], field: str) -> Errors:
    if len(names) > arm_methods.MOST_ARMS:
        return {field: f"These are {len(names)} arms; order at most {arm_methods.MOST_ARMS}, or a smaller sweep."}
    if twice := sorted({name for name in names if list(names).count(name) > 1 or name.lower() == BASE}):
        return {field: f"Two arms are called {twice[0]}; give each a name of its own. “base” is the parent's."}
    if not all(is_storable(name) for name in names):
        return {field: "A name holds a character that cannot be stored; use plain text."}
    if of_step := [name for name in names if arm_methods.CHECKPOINT_NAME.search(name)]:
        return {field: f"A name such as {of_step[0]} is that of a checkpoint; choose another one."}
    if long := [name for name in names if len(name) > 60]:
        return {field: f"The name {long[0][:20]}… has {len(long[0])} characters; use at most 60."}
    return {}


def require_plan(
    *, arms: Sequence[str], baseline: str, family: str, alpha: Any, seeds: Any, judge: str, votes_per_pair: Any,
    until: str | datetime | None, checkpoints: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Return what is registered of the comparison. Raises Refused by field. `checkpoints` are rated beside the arms."""
    errors: Errors = {}
    if baseline not in arms:
        errors["baseline"] = f"{baseline!r} is not an arm; choose one of {', '.join(arms)}."
    if family not in (AGAINST_BASELINE, ALL_PAIRS):
        errors["family"] = f"Choose {AGAINST_BASELINE} (each arm against it) or {ALL_PAIRS} (every arm against every)."
    if not _is_number(alpha) or not 0.001 <= alpha <= 0.2:
        errors["alpha"] = "Enter a family-wise error rate between 0.001 and 0.2, such as 0.05."
    if not _is_whole(seeds) or not arm_methods.FEWEST_SEEDS <= seeds <= MOST_SEEDS:
        errors["seeds"] = (
            f"Enter {arm_methods.FEWEST_SEEDS} to {MOST_SEEDS} seeds: with one, luck cannot be told from the method."
        )
    if judge not in AnnotatorKind.values:
        errors["judge"] = f"{judge!r} is not a kind of annotator; use {' or '.join(AnnotatorKind.values)}."
    stop, wrong = _stop(len(arms), votes_per_pair, until)
    errors |= wrong
    if errors:
        raise Refused(400, **errors)
    require_room(len(arms) - 1 + checkpoints, seeds)
    return {
        "baseline": baseline, "family": family, "alpha": float(alpha), "seeds": list(range(seeds)), "judge": judge,
        "stop": stop,
    }  # fmt: skip


def require_room(arms: int, seeds: int) -> None:
    """Refuse more arms beside the base, or more models, than an experiment may have."""
    if arms > arm_methods.MOST_ARMS:
        raise Refused(
            400, arms=f"These would be {arms} arms, checkpoints too; an experiment has at most {arm_methods.MOST_ARMS}."
        )
    if seeds * arms + 1 > arm_methods.MOST_MODELS:
        raise Refused(
            400, seeds=f"{seeds} seeds of {arms} arms are more than {arm_methods.MOST_MODELS} models; order fewer."
        )


def _stop(arms: int, votes_per_pair: Any, until: str | datetime | None) -> tuple[dict[str, Any], Errors]:
    if (votes_per_pair is None) == (until is None):
        return {}, {"votes_per_pair": "Say when it stops: votes_per_pair or until, and not both."}
    if until is not None:
        try:
            moment = parse_datetime(until) if isinstance(until, str) else until
        except ValueError:  # the 31st of February
            moment = None
        if moment is None or timezone.is_naive(moment) or moment <= timezone.now():
            return {}, {"until": "Enter a moment to come with its time zone, such as 2027-01-31T12:00:00Z."}
        return {"until": moment.isoformat()}, {}
    pairs = arms * (arms - 1) // 2
    if not _is_whole(votes_per_pair) or not 1 <= votes_per_pair <= MOST_VOTES // max(pairs, 1):
        return {}, {
            "votes_per_pair": f"Enter a whole number of votes for each of the {pairs} pairs of arms, from 1 on."
        }
    return {"votes_per_pair": votes_per_pair, "pairs": pairs, "votes": votes_per_pair * pairs}, {}


def require_budget(given: Any) -> Budget:
    if not given:
        return Budget()
    unit, amount = (given.get("unit"), given.get("amount")) if isinstance(given, Mapping) else (None, None)
    if unit not in arm_methods.UNITS:
        raise Refused(400, **{"budget.unit": f"Choose one of {', '.join(arm_methods.UNITS)}, or leave the budget out."})
    if amount is None or not _is_number(amount) or not 0 < amount < 1e15:
        raise Refused(400, **{"budget.amount": f"Enter how many {unit} each model may take, above 0."})
    return Budget(unit, float(amount))


def check_data(arms: Sequence[Arm], dataset: Dataset, *, has_examples: bool, has_reward_model: bool) -> None:
    """Refuse arms that the annotations do not allow. Raises Refused, 400."""
    errors: Errors = {}
    if dataset.kind != Dataset.Kind.PREFERENCES:
        errors["dataset"] = f"{dataset.name} is a dataset of {dataset.kind}; choose one of preferences."
    elif dataset.judge == "model":
        errors["dataset"] = f"A judge model labelled {dataset.name}; choose a dataset of annotations."
    methods = {arm.method for arm in arms}
    winners = dataset.counts.get("winners", {})
    decided = sum(winners.get(side, 0) for side in ("model_a", "model_b"))
    if "dpo" in methods and decided < FEWEST_PAIRS:
        errors["arms.dpo"] = (
            f"DPO needs {FEWEST_PAIRS} comparisons with a winner, and {dataset.name} has {decided}: leave this arm "
            "out, or collect more and freeze them."
        )
    if "kto" in methods and min(thumbs := count_thumbs(dataset)) < FEWEST_OF_EACH:
        errors["arms.kto"] = (
            f"KTO needs {FEWEST_OF_EACH} thumbs up and as many down, and {dataset.name} has {thumbs[0]} and "
            f"{thumbs[1]}: leave this arm out, or collect more and freeze them."
        )
    needs_reward = not has_reward_model and any(METHODS[name].needs_reward for name in methods)
    if needs_reward and dataset.counts.get("enough") is False:
        errors["arms"] = (
            f"{dataset.name} has too few informative annotations for a reward model. "
            f"{dataset.counts.get('sentence', '')} Leave out the arms that need one, or collect more."
        )
    if "sft" in methods and not has_examples:
        errors["arms.sft"] = f"{dataset.name} has no well-rated answer to imitate: leave this arm out."
    if errors:
        raise Refused(400, **errors)


def count_thumbs(dataset: Dataset) -> tuple[int, int]:
    """Return how many thumbs up and down the frozen ratings hold."""
    path = dataset.path / "ratings.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    thumbs = [json.loads(line).get("thumbs") for line in lines if line.strip()]
    return sum(one is True for one in thumbs), sum(one is False for one in thumbs)


def answers_of(dataset: Dataset, method: str) -> int:
    """Return the answers that one pass over a dataset shows a method."""
    if method == "dpo":
        winners = dataset.counts.get("winners", {})
        return 2 * sum(winners.get(side, 0) for side in ("model_a", "model_b"))
    if method == "kto":
        return sum(count_thumbs(dataset))
    return int(dataset.counts.get("examples", 0))


def budgeted(
    arm: Arm, budget: Budget, project: Project, parent: LanguageModel, datasets: Mapping[str, Dataset | None],
    shown: int = 0,
) -> Arm:  # fmt: skip
    """Return the arm with the options that keep it within the budget. What an arm sets itself is refused: one budget is
    for all. Best-of-N may have an N of its own; else it draws as many answers for the `shown` ones of the arena as
    others see in training."""
    method = METHODS[arm.method]
    if not budget.unit or not method.kind:
        return arm
    if method.name == "best_of" and (not budget.counts_answers or not shown or "candidates" in arm.config):
        return arm
    kind, config = ("rejection", arm.drawing) if method.draws_examples else (method.kind, arm.config)
    dataset = datasets.get("prompts" if method.draws_examples else method.takes)
    tokens = arm_methods.answer_tokens(kind, config)
    answers = answers_of(dataset, arm.method) if dataset is not None and method.takes != "prompts" else 0
    if method.name == "best_of":
        answers = shown
    if budget.unit == arm_methods.SECONDS:
        one = arm_methods.within_budget(kind, config, 1000.0, answers)
        planned = PlannedRun(project, kind, vars(configs.parse(kind, {**config, **one})), parent, dataset)
        seconds = estimate(planned).seconds
        if seconds is None:
            raise Refused(
                400,
                **{"budget.unit": f"No run of {kind} has finished here, so its seconds are unknown: choose episodes."},
            )
        episodes = 1000.0 * max(budget.amount - START_SECONDS, 1.0) / max(seconds - START_SECONDS, 1.0)
    else:
        episodes = arm_methods.episodes_of(budget, tokens)
    options = arm_methods.within_budget(kind, config, episodes, answers)
    if given := sorted(options.keys() & config.keys()):
        raise Refused(400, **{"budget": f"{arm.name} sets {given[0]}, which follows from the budget: leave one out."})
    if method.draws_examples:
        return replace(arm, drawing={**arm.drawing, **options})
    return replace(arm, config={**arm.config, **options})


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
