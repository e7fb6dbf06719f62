"""Rounds in words: where they are, what was fixed, and why they stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evaluation.core.absent_models import Lack, absent
from evaluation.core.voter_names import voters_of
from evaluation.experiments import foresight
from evaluation.experiments.arm_methods import METHODS, Arm
from evaluation.experiments.experiment_words import answers_in_words
from evaluation.models import Round, RoundSeries
from evaluation.rounds import round_judging, stop_rules
from evaluation.rounds.round_order import ALL, FROM_FIRST, WEIGHTED
from training.models import Run

State, Reason = RoundSeries.State, RoundSeries.Reason
DOES = {
    "answers_run": "the policy answers the train prompts",
    "accuracy_run": "the reward model before is measured on the newest annotations",
    "reward_run": "a reward model is trained",
    "examples_run": "examples are drawn",
    "training_run": "the policy is trained",
    "eval_run": "the eval prompts are answered",
}


def sentence(series: RoundSeries, one: Round | None, judged: int, votes: int) -> str:
    """Say where the rounds are."""
    if series.state == State.CANCELLED:
        return "Cancelled. Models, annotations and votes are kept."
    if series.state == State.STOPPED:
        return why_stopped(series, one)
    if one is None:
        return "Not begun."
    text = f"Round {one.number} of {series.plan['rounds']}: {where(series, one, judged, votes)}."
    return f"Paused by a person; nothing new begins. {text}" if series.state == State.PAUSED else text


def where(series: RoundSeries, one: Round, judged: int, votes: int) -> str:
    """Say what a round waits for."""
    if failure := failure_of(one):
        return failure
    if one.gain:
        return "compared"
    if one.entered_at is not None:
        return f"its model meets the one before in the arena, {votes:,} of {series.plan['votes']:,} votes"
    for field in reversed(DOES):
        run = getattr(one, field)
        if run is not None and run.state not in (Run.State.SUCCEEDED,):
            return f"{DOES[field]} (run {run.pk}, {run.state})"
    if one.opened_at is not None and one.dataset_id is None:
        if judged >= (one.needed or 0) and (freeze := round_judging.freeze_of(series, one)):
            return f"its annotations are frozen in the background, {100 * freeze.share:.0f} %"
        return f"its answers are annotated, {judged:,} of {one.needed:,} comparisons with a winner"
    if not series.plan_hash:
        freeze = round_judging.prompt_freezes(series).first()
        share = freeze.share if freeze is not None else 1.0
        return f"the prompts are frozen in the background, {100 * share:.0f} %"
    return "the next step is on its way"


def what_is_missing(series: RoundSeries, one: Round) -> list[Lack]:
    """Return why the votes or comparisons do not come that a round waits for, and the remedy; empty where they can."""
    if series.state not in (State.RUNNING, State.PAUSED) or failure_of(one):
        return []
    if one.entered_at is not None:
        return [] if one.gain else absent(series.project, (one.policy, one.model))
    if one.opened_at is None or one.dataset_id is not None or series.project.asks_comparisons:
        return []
    if round_judging.freeze_of(series, one):  # enough stand already
        return []
    return [Lack("no comparisons", f"{series.project.name} asks for no comparisons. Switch them on in its settings.")]


def failure_of(one: Round) -> str:
    """Say what holds a round up until somebody acts; empty where nothing does."""
    if one.problem:
        return f"an order was refused: {one.problem.rstrip('.')}"
    failed = next((run for run in one.runs if run.state in (Run.State.FAILED, Run.State.CANCELLED)), None)
    if failed is None:
        return ""
    reason = f": {failed.reason_without_log.rstrip('.')}" if failed.reason_without_log else ""
    return f"run {failed.pk} ({failed.kind}) has {failed.state}{reason}"


def why_stopped(series: RoundSeries, one: Round | None) -> str:
    """Say which rule stopped the rounds, with the figures that it read."""
    plan = series.plan
    number = one.number if one is not None else 0
    if series.reason == Reason.NO_GAIN and one is not None:
        gain = stop_rules.from_json(one.gain)
        return (
            f"Stopped: round {number} gained {gain.value:+.0f} points [{_end(gain.lower)}, {_end(gain.upper)}] by "
            f"{gain.votes:,} votes, and a gain of {plan['gain']:g} is excluded."
        )
    if series.reason == Reason.DRIFT and one is not None:
        return (
            f"Stopped: the reward model before round {number} is right on {100 * one.accuracy['value']:.0f} % of the "
            f"newest comparisons, below the floor of {100 * plan['accuracy_floor']:g} %."
        )
    if series.reason == Reason.REVIEW:
        return "Stopped: a review says that the newest model is worse."
    if series.reason == Reason.SECONDS:
        return f"Stopped: the runs have taken the {plan['seconds']:,.0f} seconds of the plan."
    return "Finished: the round is done." if plan["rounds"] == 1 else f"Finished: all {plan['rounds']} rounds are done."


def _end(value: float | None) -> str:
    return "open" if value is None else f"{value:+.0f}"


def foreseen(plan: Mapping[str, Any]) -> list[str]:
    """Say how much people are asked for, by a plan or an order of rounds."""
    rounds, judgements, votes = plan["rounds"], plan["judgements"], plan["votes"]
    whose = voters_of(plan["judge"])
    return [
        f"Each round asks {whose} for {judgements:,} comparisons with a winner and {votes:,} blind votes: "
        f"{rounds * judgements:,} comparisons and {rounds * votes:,} votes in all {rounds} rounds."
        if rounds > 1
        else f"It asks {whose} for {judgements:,} comparisons with a winner and {votes:,} blind votes."
    ]


def judges_in_words(series: RoundSeries) -> list[str]:
    """Say what judges of the rewards are asked in all rounds together."""
    plan = series.plan
    prompts, questions = (
        rows.prompts.count() if rows is not None else 0 for rows in (series.prompts, series.questions)
    )
    return foresight.judges_in_words(
        series.project, [Arm(**plan["arm"])], seeds=plan["rounds"], prompts=prompts, questions=questions,
        completions_per_prompt=plan["completions_per_prompt"],
    )  # fmt: skip


def plan_in_words(series: RoundSeries) -> list[str]:
    """Return what was fixed, in sentences."""
    plan = series.plan
    method = METHODS[plan["arm"]["method"]]
    options = ", ".join(
        f"{name} {value}"
        for name, value in {**plan["arm"]["drawing"], **plan["arm"]["config"]}.items()
        if method.options.get(name) != value
    )
    start = "the first model" if plan["starts"] == FROM_FIRST else "the newest model"
    learns = {
        ALL: "all annotations so far",
        WEIGHTED: f"all annotations so far, those of earlier rounds at weight {plan['older_weight']}",
    }.get(plan["older"], "the annotations of its own round alone")
    judges = voters_of(plan["judge"])
    fits = " Each round trains a reward model." if method.needs_reward else ""
    lines = [
        f"Each round: the newest model gives {plan['answers_per_prompt']} answers to each of the prompts in "
        f"{plan['prompts']['name']}; {judges} compare them, until {plan['judgements']:,} comparisons have a winner.",
        f"It learns from {learns}, by {method.title}{f' ({options})' if options else ''}, and starts from {start}."
        f"{fits}",
        f"Its model meets the one before in the arena, on {plan['questions']['name']}, for {plan['votes']:,} blind "
        f"votes of {judges}.",
        *answers_in_words(plan),
        f"Stops when the votes exclude a gain of {plan['gain']:g} points. A round without any gain stops them in "
        f"about {100 * plan['power']:.0f} % of cases.",
        f"Stops after {plan['rounds']} {'round' if plan['rounds'] == 1 else 'rounds'}"
        + (f", or when all runs together have taken {plan['seconds']:,.0f} seconds." if plan["seconds"] else "."),
        "Stops when a review says worse.",
    ]
    if plan["accuracy_floor"] is not None:
        lines.append(
            f"Stops when a reward model is right on less than {100 * plan['accuracy_floor']:g} % of the comparisons of "
            "the next round, before one is trained on them."
        )
    return [*lines, *judges_in_words(series)]
