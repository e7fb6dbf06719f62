"""Order rounds; the human brake: pause, go on, a review; go on with what failed; cancel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.db import IntegrityError, transaction

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.permissions import require
from annotate.core.typed_texts import checked_name
from annotate.data.datasets.freezing import cancel_freezes
from annotate.data.datasets.sampled_prompts import complete_or_frozen
from annotate.language_models.actions import require_usable
from annotate.models import AnnotatorKind, Dataset, LanguageModel, Project, Split, User
from common.texts import is_storable
from evaluation.experiments.experiment_start import hash_of, named
from evaluation.models import Round, RoundReview, RoundSeries
from evaluation.rounds import round_order
from evaluation.rounds.ordered_runs import ordered_runs
from evaluation.rounds.round_judging import close_round, prompt_freezes
from evaluation.rounds.round_progress import advance, stop
from training.models import Run
from training.runs.ordering import actions as runs
from training.runs.ordering.actions import defaults_of

State = RoundSeries.State


def order(
    *,
    project: Project,
    by: User,
    name: str,
    parent: LanguageModel,
    method: str = "ppo",
    config: Mapping[str, Any] | None = None,
    reward_config: Mapping[str, Any] | None = None,
    prompts: Dataset | None = None,
    rounds: int = 3,
    judgements: int = 200,
    answers_per_prompt: int = 4,
    older: str = round_order.ALL,
    older_weight: float = 0.5,
    starts: str = round_order.FROM_NEWEST,
    votes: int = 400,
    gain: float = 50.0,
    seconds: float | None = None,
    accuracy_floor: float | None = None,
    judge: str = AnnotatorKind.PERSON,
    completions_per_prompt: int = 2,
    seed: int = 0,
) -> RoundSeries:
    """Fix the plan and begin the first round; return the series. Refused by field, and then nothing is kept but frozen
    prompts. Many prompts are frozen in the background: the plan gets its hash, and the first run comes, at the end."""
    require(by, "research", project)
    require_usable(parent, project)
    name = _free_name(project, name)
    round_order.require_project(project)
    round_order.require_parent(parent)
    arm = round_order.require_arm(method, config or {})
    plan = round_order.require_rules(
        method=method, rounds=rounds, judgements=judgements, answers_per_prompt=answers_per_prompt, older=older,
        older_weight=older_weight, starts=starts, votes=votes, gain=gain, seconds=seconds,
        accuracy_floor=accuracy_floor, judge=judge, completions_per_prompt=completions_per_prompt, seed=seed,
    )  # fmt: skip
    plan["reward_config"] = round_order.require_reward_config(reward_config or {}, method)
    train = prompts or complete_or_frozen(project, Split.TRAIN, by, "prompts")
    if isinstance(train, Dataset):
        round_order.require_prompts(project, train, method, judgements, answers_per_prompt)
    frozen = {"prompts": train, "questions": complete_or_frozen(project, Split.EVAL, by, "questions")}
    plan |= {"version": 1, "name": name, "project": project.slug, "arm": asdict(arm), "parent": named(parent)}
    plan |= {field: named(row) for field, row in frozen.items()}
    plan["answers"] = defaults_of("sample", project, parent)  # how all models answer, whatever is set meanwhile
    stand = {field: row for field, row in frozen.items() if isinstance(row, Dataset)}
    try:
        with transaction.atomic():
            series = RoundSeries.objects.create(
                project=project, name=name, parent=parent, plan=plan, created_by=by, **stand,
                plan_hash=hash_of(plan) if len(stand) == len(frozen) else "",
            )  # fmt: skip
            Round.objects.create(series=series, number=0, model=parent)
            Round.objects.create(series=series, number=1, policy=parent)
            audit.record(action="rounds.ordered", about=name, by=by, project=project)
    except IntegrityError as error:  # a double click: its twin came first
        raise _name_taken(project, name) from error
    advance(series)
    series.refresh_from_db()
    return series


def pause(*, series: RoundSeries, by: User) -> RoundSeries:
    """Pause: runs under way end, votes and annotations go on, and nothing new begins."""
    return _move(series, by, State.RUNNING, State.PAUSED, "rounds.paused")


def go_on(*, series: RoundSeries, by: User) -> RoundSeries:
    """Go on after a pause, with all that has come meanwhile."""
    series = _move(series, by, State.PAUSED, State.RUNNING, "rounds.resumed")
    advance(series)
    series.refresh_from_db()
    return series


def review(*, series: RoundSeries, by: User, number: int, opinion: str, note: str = "") -> RoundReview:
    """Say what a look at the model of a round has shown. *Worse* stops the rounds."""
    require(by, "research", series.project)
    if opinion not in RoundReview.Opinion.values:
        raise Refused(400, opinion=f"{opinion!r} is no opinion; use {', '.join(RoundReview.Opinion.values)}.")
    if not isinstance(note, str) or len(note) > 500 or not is_storable(note):
        raise Refused(400, note="Enter a note of at most 500 characters.")
    one = series.rounds.filter(number=number).exclude(model=None).exclude(number=0).first()
    if one is None:
        raise Refused(400, number=f"There is no model of round {number} to review.")
    with transaction.atomic():
        found = RoundReview.objects.create(round=one, by=by, opinion=opinion, note=note.strip())
        about = f"{series.name}, round {number}: {opinion}"
        audit.record(action="rounds.reviewed", about=about, by=by, project=series.project)
        if opinion == RoundReview.Opinion.WORSE:
            stop(series, RoundSeries.Reason.REVIEW, by=by)
    return found


def retry(*, series: RoundSeries, by: User) -> int:
    """Resume the runs that failed, and order again what was refused; return how many."""
    require(by, "research", series.project)
    series.refresh_from_db()
    if series.is_over:
        raise Refused(409, state=f"The rounds are {series.state}; order new ones.")
    count, refused = runs.resume_all(runs=failed_runs(series), by=by)
    count += series.rounds.exclude(problem="").update(problem="")
    if refused is not None and not count:
        raise refused
    advance(series)
    return count


def failed_runs(series: RoundSeries) -> list[Run]:
    """Return the runs of these rounds that failed or were cancelled."""
    return list(ordered_runs(series).filter(state__in=(Run.State.FAILED, Run.State.CANCELLED)).order_by("pk"))


def cancel(*, series: RoundSeries, by: User) -> RoundSeries:
    """Cancel rounds, their unfinished runs and what is frozen for them. Models, annotations and votes are kept."""
    require(by, "research", series.project)
    with transaction.atomic():
        series = RoundSeries.objects.select_for_update().get(pk=series.pk)
        if series.is_over:
            raise Refused(409, state=f"The rounds are {series.state}, so they cannot be cancelled.")
        series.state = State.CANCELLED
        series.save(update_fields=["state"])
        for one in series.rounds.select_related("answers_run", "series__project"):
            close_round(one)
        audit.record(action="rounds.cancelled", about=series.name, by=by, project=series.project)
        cancel_freezes(prompt_freezes(series), by=by)
    runs.cancel_unfinished(runs=ordered_runs(series), by=by)
    return series


def _move(series: RoundSeries, by: User, before: str, after: str, action: str) -> RoundSeries:
    require(by, "research", series.project)
    with transaction.atomic():
        if not RoundSeries.objects.filter(pk=series.pk, state=before).update(state=after):
            series.refresh_from_db()
            raise Refused(409, state=f"The rounds are {series.state}, not {before}.")
        audit.record(action=action, about=series.name, by=by, project=series.project)
    series.refresh_from_db()
    return series


def _free_name(project: Project, name: str) -> str:
    name = checked_name(name, 60)
    if RoundSeries.objects.filter(project=project, name=name).exists():
        raise _name_taken(project, name)
    return name


def _name_taken(project: Project, name: str) -> Refused:
    return Refused(409, name=f"{project.name} already has rounds called {name!r}; choose another name.")
