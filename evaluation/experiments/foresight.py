"""Foretell what an experiment takes before it is ordered: models, time, votes of people, and what judges of rewards
grade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

from annotate.data.datasets.sampled_prompts import prompts_to_sample
from annotate.models import Dataset, LanguageModel, Project, Split
from evaluation.core.voter_names import voters_of
from evaluation.experiments.arm_methods import METHODS, Arm
from evaluation.models import Experiment
from training import configs
from training.runs.figures.progress import duration
from training.runs.ordering import judge_questions
from training.runs.ordering.judge_questions import JudgeQuestions
from training.runs.present.run_estimates import PlannedRun, usual_seconds

_LOOKED_AT = 200  # prompts whose length is taken for that of all


def votes_in_words(stop: Mapping[str, Any], judge: str) -> str:
    """Say how many votes the verdict waits for."""
    whose = voters_of(judge)
    if "votes" not in stop:
        return f"The verdict reads what {whose} vote until its moment."
    return (
        f"The verdict waits for {stop['votes']:,} votes of {whose}: {stop['votes_per_pair']:,} for "
        f"{pairs_in_words(stop['pairs'])}, the base among them."
    )


def pairs_in_words(pairs: int) -> str:
    """Return `each of 3 pairs of arms`, or of the only pair."""
    return "the one pair of arms" if pairs == 1 else f"each of {pairs:,} pairs of arms"


def models_in_words(arms: Sequence[Arm], seeds: int) -> str:
    """Say how many models are trained, and how many kept checkpoints meet them."""
    kept = sum(arm.checkpoints for arm in arms) * seeds
    beside = f", and up to {kept} kept checkpoints" if kept else ""
    return f"{len(arms)} arm{'s' if len(arms) != 1 else ''} with {seeds} seeds: {len(arms) * seeds} models{beside}."


def time_in_words(
    project: Project, arms: Sequence[Arm], parent: LanguageModel | None, dataset: Dataset | None, *, seeds: int,
    questions: int,
) -> str:  # fmt: skip
    """Say how long the runs that make the models take one after the other, by runs like them, and of which arms that is
    unknown. `questions` are prompts of the eval split."""
    known, unknown = 0.0, []
    for arm in arms:
        steps = [usual_seconds(run) for run in _runs_of(project, arm, parent, dataset, questions)]
        if None in steps:
            unknown.append(arm.name)
        else:
            known += seeds * sum(filter(None, steps))
    left_out = f" Unknown, since no run like theirs has finished here: {', '.join(unknown)}." if unknown else ""
    if not known:
        return f"How long that takes is not known.{left_out}"
    count = len(arms) - len(unknown)
    whose = f"{count} of these arms take{'s' * (count == 1)}" if unknown else "That takes"
    return f"{whose} about {duration(known)}, one run after the other, by runs like these here.{left_out}"


def _runs_of(
    project: Project, arm: Arm, parent: LanguageModel | None, dataset: Dataset | None, questions: int
) -> list[PlannedRun]:
    """Return the runs that make one model of an arm. Of datasets that are not frozen yet there is a row each prompt."""
    method, prompts = METHODS[arm.method], count_prompts(dataset) if dataset is not None else 0
    taken = {
        "preferences": dataset,
        "examples": Dataset(counts={"examples": prompts}),
        "prompts": Dataset(counts={"prompts": prompts}),
        "questions": Dataset(counts={"prompts": questions}),
    }
    runs = [(method.kind, arm.config, taken[method.takes])]
    if method.draws_examples:
        runs.insert(0, ("rejection", arm.drawing, taken["prompts"]))
    return [
        PlannedRun(project, kind, vars(configs.parse_valid(kind, dict(config))), parent, rows)
        for kind, config, rows in runs
    ]


def judges_in_words(
    project: Project, arms: Sequence[Arm], *, seeds: int, prompts: int, questions: int, completions_per_prompt: int
) -> list[str]:
    """Say what judges of these arms' rewards are asked. `prompts` are of the train split, `questions` of the eval
    split."""
    asked: list[JudgeQuestions] = []
    length = cache(partial(prompt_characters, project))
    for arm in arms:
        method = METHODS[arm.method]
        kind, options = ("rejection", arm.drawing) if method.draws_examples else (method.kind, dict(arm.config))
        if kind == "best_of":
            options["completions_per_prompt"] = completions_per_prompt
        if not options.get("rewards"):
            continue
        asked += judge_questions.questions(
            project, kind, configs.parse_valid(kind, options), questions if kind == "best_of" else prompts,
            runs=seeds, prompt_characters=length(),
        )  # fmt: skip
    return [judge_questions.in_words(one) for one in judge_questions.by_judge(asked)]


def prompt_characters(project: Project) -> float:
    """Return how long a prompt of the train split is, with the names of its turns, by some of them."""
    some = prompts_to_sample(project, Split.TRAIN).order_by("pk").values_list("messages", flat=True)[:_LOOKED_AT]
    lengths = [sum(len(turn["role"]) + len(turn["content"]) for turn in messages) for messages in some]
    return sum(lengths) / len(lengths) if lengths else 0.0


def of_order(
    project: Project, parent: LanguageModel | None, dataset: Dataset | None, arms: Sequence[Arm],
    plan: Mapping[str, Any], completions_per_prompt: int,
) -> list[str]:  # fmt: skip
    """Return what an order would take."""
    seeds, questions = len(plan["seeds"]), prompts_to_sample(project, Split.EVAL).count()
    return [
        models_in_words(arms, seeds),
        time_in_words(project, arms, parent, dataset, seeds=seeds, questions=questions),
        votes_in_words(plan["stop"], plan["judge"]),
        *judges_in_words(
            project, arms, seeds=seeds, prompts=count_prompts(dataset) if dataset is not None else 0,
            questions=questions, completions_per_prompt=completions_per_prompt,
        ),
    ]  # fmt: skip


def of_plan(experiment: Experiment) -> list[str]:
    """Return what judges are asked by a plan that has its arms."""
    plan, questions = experiment.plan, experiment.questions
    return judges_in_words(
        experiment.project, [Arm(**arm) for arm in plan["arms"][1:]], seeds=len(plan["seeds"]),
        prompts=count_prompts(experiment.dataset), questions=questions.prompts.count() if questions is not None else 0,
        completions_per_prompt=plan["completions_per_prompt"],
    )  # fmt: skip


def count_prompts(dataset: Dataset) -> int:
    """Return how many prompts the annotations of a dataset are about."""
    return int(dataset.counts.get("prompts", 0))
