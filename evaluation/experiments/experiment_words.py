"""An experiment in words: where it is, what was registered, and what the verdict says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from annotate.core import audit
from annotate.language_models.changes import MODEL_CHANGED, OF_THE_BILL
from annotate.models import DatasetFreeze
from annotate.projects.actions import PROJECT_CHANGED
from common.sampling import BOUNDS
from evaluation.core.absent_models import Lack, absent
from evaluation.core.voter_names import voters_of
from evaluation.experiments.arm_checkpoints import is_checkpoint
from evaluation.experiments.arm_methods import METHODS
from evaluation.experiments.experiment_progress import is_lost
from evaluation.experiments.experiment_results import Compared, Reached, Results
from evaluation.experiments.family_tests import AGAINST_BASELINE
from evaluation.experiments.foresight import pairs_in_words
from evaluation.models import ArmModel, Experiment, ExperimentArm
from training.models import Run

State = Experiment.State
_SAMPLING = frozenset({*BOUNDS, "system_prompt"})


@dataclass(frozen=True)
class Change:
    """Something that is otherwise than when the plan was registered: what it is of, and the names of its fields."""

    about: str
    fields: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return f"{self.about} ({', '.join(self.fields)})" if self.fields else self.about


def sentence(
    experiment: Experiment, every: Sequence[ArmModel], reached: Reached | None, waits_for: str = "",
    freezes: Sequence[DatasetFreeze] = (),
) -> str:  # fmt: skip
    """Say where the experiment is. `waits_for` is the quota that keeps it from ordering the runs that are left,
    `freezes` are the orders of datasets that it waits for."""
    if experiment.state == State.FREEZING:
        return _freezing(freezes)
    if experiment.problem and experiment.state == State.FAILED:
        return f"Failed before its training. {experiment.problem}"
    ours = [one for one in every if not one.arm.is_exploratory]
    lost = sum(is_lost(one) for one in ours)
    failed = f" {lost} of {len(ours)} models failed, were cancelled or refused." if lost else ""
    failed += f" What is left waits for a quota. {waits_for}" if waits_for else ""
    if experiment.state == State.TRAINING:
        made = sum(one.model is not None for one in ours)
        return f"{made} of {len(ours)} models are finished.{failed} All enter the arena together."
    if experiment.state == State.ANSWERING:
        return f"The models answer the eval prompts; then all enter the arena together.{failed}"
    if reached is not None:
        failed += _elsewhere(reached) + _late(experiment, ours)
    if experiment.state == State.VOTING and reached is not None:
        return f"In the arena: {reached_in_words(reached)}. There is no verdict before that.{failed}"
    if experiment.state == State.DECIDED and reached is not None:
        votes = experiment.verdict.get("votes", 0)
        gone = votes - reached.votes
        since = (
            f" {gone:,} of these votes do not count any more; the verdict stays as it was found." if gone > 0 else ""
        )
        return f"Finished: the rule of the plan has stopped it after {votes:,} votes.{since}{failed}"
    if experiment.state == State.FAILED:
        return f"Failed: fewer than two arms have a model.{failed} The runs say why."
    return "Cancelled. Models that were finished are kept."


def _elsewhere(reached: Reached) -> str:
    """Say how many votes were given in vain: on answers that came otherwise than the plan says."""
    given = f"{reached.elsewhere:,} vote{'s' * (reached.elsewhere > 1)}"
    do = "do" if reached.elsewhere > 1 else "does"
    return f" {given} on other answers of these models {do} not count." if reached.elsewhere else ""


def _late(experiment: Experiment, ours: Sequence[ArmModel]) -> str:
    """Say how many models of the plan came after the others, or will: nobody chooses by resuming who takes part."""
    entered = experiment.entered_at
    left = [one for one in ours if not is_lost(one)]
    late = sum(one.entered_at is None or (entered is not None and one.entered_at > entered) for one in left)
    came = "came or will come" if any(one.entered_at is None for one in left) else "came"
    return f" {late} of {len(ours)} models {came} after the others, without a part in the verdict." if late else ""


def changes(experiment: Experiment, every: Sequence[ArmModel]) -> list[Change]:
    """Return what is otherwise than when the plan was registered, until the verdict."""
    ours = [one for one in every if not one.arm.is_exploratory]
    return [*_asked_otherwise(experiment, ours), *_set(experiment), *_amended(ours), *_retired(experiment)]


def changes_in_words(changed: Sequence[Change]) -> str:
    return f"Changed since the plan was registered: {'; '.join(one.text for one in changed)}." if changed else ""


def _asked_otherwise(experiment: Experiment, ours: Sequence[ArmModel]) -> list[Change]:
    """Return the models whose address or settings somebody has changed, with what that was."""
    names = sorted({one.model.name for one in ours if one.model is not None}, key=len, reverse=True)
    found: dict[str, set[str]] = {}
    for about, changes in _trail(experiment, MODEL_CHANGED):
        # Earlier versions noted "NAME: endpoint ADDRESS, temperature", cut off where it was long.
        name = next((n for n in names if about == n or (not changes and about.startswith(f"{n}: "))), None)
        fields = changes or re.findall(r"[:,] (\w+)", about[len(name) :]) if name else []
        if name and (told := {*fields} - OF_THE_BILL):
            found.setdefault(name, set()).update(told)
    return [Change(name, tuple(sorted(fields))) for name, fields in sorted(found.items())]


def _set(experiment: Experiment) -> list[Change]:
    """Return what was set of the project's sampling: it is that of the answers that its models write in the arena."""
    found = {name for _, changes in _trail(experiment, PROJECT_CHANGED) for name in changes if name in _SAMPLING}
    return [Change("the project", tuple(sorted(found)))] if found else []


def _trail(experiment: Experiment, action: str) -> list[tuple[str, dict[str, Any]]]:
    """Return what the trail says of such changes, from the order to the verdict: about what, and the fields."""
    until = {"created_at__lte": experiment.decided_at} if experiment.decided_at else {}
    rows = audit.entries_of(experiment.project, action=action).filter(created_at__gte=experiment.created_at, **until)
    return list(rows.values_list("about", "changes"))


def _amended(ours: Sequence[ArmModel]) -> list[Change]:
    """Return the runs that paused and went on otherwise, with what was chosen."""
    runs = [one.training_run for one in ours if one.training_run is not None and one.training_run.amendments]
    return [Change(run.name, tuple(sorted(_chosen(run)))) for run in runs]


def _chosen(run: Run) -> set[str]:
    return {name for one in run.amendments for name in one["changes"] or [one["choice"]]}


def _retired(experiment: Experiment) -> list[Change]:
    """Return how many of its eval prompts were retired, nothing of none: nobody votes on their answers."""
    if experiment.questions is None:
        return []
    until = {"out_since__lte": experiment.decided_at} if experiment.decided_at else {}
    count = experiment.questions.prompts.filter(out_since__gte=experiment.created_at, **until).count()
    return [Change(f"{count} eval prompt{'s' * (count > 1)} retired")] if count else []


def what_is_missing(experiment: Experiment, models: Sequence[ArmModel]) -> list[Lack]:
    """Return which registered models get no votes while these are collected, and the remedy; empty where all can."""
    entered = [one.model for one in models if one.entered_at is not None and not one.arm.is_exploratory]
    return absent(experiment.project, entered) if experiment.state == State.VOTING else []


def _freezing(freezes: Sequence[DatasetFreeze]) -> str:
    if not freezes:
        return "Its datasets are frozen; the arms begin to train in a moment."
    first = max(freezes, key=lambda one: one.share)
    names = f"{first.name}, {first.stage}, {first.percent} %" if first.stage else f"{first.name} waits"
    more = f"; {len(freezes) - 1} more" if len(freezes) > 1 else ""
    return f"Large datasets are frozen in the background ({names}{more}). The arms begin to train at the end."


def reached_in_words(reached: Reached) -> str:
    if reached.until is not None:
        return f"{reached.votes:,} votes so far; it stops on {reached.until:%-d %B %Y, %H:%M} UTC"
    return f"{reached.votes:,} of {reached.needed:,} votes"


def verdict_sentence(experiment: Experiment, verdict: Results) -> str:
    """Say the verdict in one or two sentences, with the error rate that it keeps."""
    left_out = (
        f" Votes given until then that did not count (held, withdrawn or excluded): {verdict.left_out:,}."
        if verdict.left_out
        else ""
    )
    if verdict.reason:
        return f"No verdict. {verdict.reason}{left_out}"
    plan = experiment.plan
    if not verdict.comparisons:
        return f"No verdict: the baseline, {plan['baseline']}, has no model.{left_out}"
    better, worse = (
        [_pair(one, plan["family"]) for one in verdict.comparisons if one.verdict == word]
        for word in ("better", "worse")
    )
    against = f" than {plan['baseline']}" if plan["family"] == AGAINST_BASELINE else ""
    parts = [f"better{against}: {', '.join(better)}"] if better else []
    parts += [f"worse{against}: {', '.join(worse)}"] if worse else []
    undecided = sum(one.verdict == "undecided" for one in verdict.comparisons)
    parts += [f"{undecided} of {len(verdict.comparisons)} comparisons undecided"] if undecided else []
    text = "; ".join(parts)
    looks = sum(map(is_checkpoint, experiment.arms.all()))
    beside = f" Checkpoints rated beside it, without a part in it: {looks}." if looks else ""
    return f"{text[:1].upper()}{text[1:]}. Family-wise error rate: at most {100 * plan['alpha']:g} %.{left_out}{beside}"


def _pair(one: Compared, family: str) -> str:
    return one.arm if family == AGAINST_BASELINE else f"{one.arm} than {one.other}"


def plan_in_words(experiment: Experiment) -> list[str]:
    """Return what was registered, in sentences."""
    plan, stop = experiment.plan, experiment.plan["stop"]
    names = [arm["name"] for arm in plan["arms"]]
    compared = (
        f"Each of the other arms is compared with {plan['baseline']}"
        if plan["family"] == AGAINST_BASELINE
        else "Every arm is compared with every other"
    )
    when = (
        f"It stops after {stop['votes']:,} counted votes between these models: {stop['votes_per_pair']} for "
        f"{pairs_in_words(stop['pairs'])}. Later votes do not change the verdict."
        if "votes" in stop
        else f"It stops on {datetime.fromisoformat(stop['until']):%-d %B %Y, %H:%M} UTC."
    )
    budget = plan["budget"]
    limit = (
        f"Each model may take {budget['amount']:,.0f} {budget['unit']}." if budget["unit"] else "There is no budget."
    )
    judges = voters_of(plan["judge"])
    return [
        f"Arms: {', '.join(names)}, with {len(plan['seeds'])} seeds each (the base has one model).",
        f"All start from {plan['parent']['name']} and learn from “{plan['dataset']['name']}”. {limit}",
        f"{compared}, by votes of {judges}: {plan['test']}.",
        f"Family-wise error rate: {100 * plan['alpha']:g} %.",
        when,
        *answers_in_words(plan),
        *_checkpoints_in_words(plan),
    ]


def answers_in_words(plan: Mapping[str, Any]) -> list[str]:
    """Return how all models answer; nothing where an older plan does not say."""
    if not (settings := plan.get("answers")):
        return []
    system = settings["system_prompt"]
    asked = f", with the system prompt “{system[:80]}{'…' if len(system) > 80 else ''}”" if system else ""
    return [
        f"All models answer at temperature {settings['temperature']:g} and top_p {settings['top_p']:g}, with at most "
        f"{settings['max_new_tokens']:,} tokens{asked}."
    ]


def _checkpoints_in_words(plan: Mapping[str, Any]) -> list[str]:
    arms = [arm for arm in plan["arms"] if arm.get("takes_checkpoints")]
    if not arms:
        return []
    named = ", ".join(f"{arm['name']} ({arm['config']['kept_checkpoints']})" for arm in arms)
    return [f"Kept checkpoints enter the arena as exploratory arms, without a part in the verdict: {named}."]


def options_in_words(arm: ExperimentArm) -> str:
    """Return the options that are not those of every arm of the method, and do not stand in its name."""
    config = {**arm.config.get("drawing", {}), **arm.config.get("config", {})}
    usual, named = METHODS[arm.method].options, arm.name.replace(",", " ").split()
    own = {name: value for name, value in config.items() if usual.get(name) != value}
    options = [f"{name} {value}" for name, value in own.items() if f"{name}={value}" not in named]
    return ", ".join(["a kept checkpoint"] * is_checkpoint(arm) + options)


def state_of(one: ArmModel) -> str:
    """Say in a few words where one model is."""
    if one.problem:
        return "refused"
    if lost := next((run for run in one.runs if run.state in (Run.State.FAILED, Run.State.CANCELLED)), None):
        return str(lost.state)
    if one.entered_at is not None:
        return "in the arena"
    if one.answers_run is not None and one.answers_run.state == Run.State.SUCCEEDED:
        return "waits for the others"
    if one.model is not None:
        return "answers"
    if one.runs:
        run = one.runs[-1]
        return "training" if run.state == Run.State.RUNNING else str(run.state)
    return "waits for the reward model" if METHODS[one.arm.method].needs_reward else "waits"
