"""Bring rounds as far as they can go: queue what can be queued, freeze what was annotated, compare, stop or go on.

Whoever ends a run calls it, and the background worker every few seconds: each step is found by what stands, and made
once (by an idempotency key, a name or a conditional update), so that two that call at once, or one that is killed, do
no harm. People take their time: nothing waits for them but a look.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.periodic_tasks import each_alone
from annotate.language_models.actions import enter_arena
from annotate.models import AnnotatorKind, Contestant, LanguageModel, User
from evaluation.core import notices
from evaluation.core.cancelled_runs import cancel_late
from evaluation.experiments.arm_methods import METHODS
from evaluation.models import Round, RoundSeries
from evaluation.rounds import round_judging, round_votes, stop_rules
from evaluation.rounds.ordered_runs import KEY, seconds_spent
from evaluation.rounds.round_order import FROM_FIRST
from evaluation.rounds.round_words import why_stopped
from training.models import Run
from training.runs.ordering.actions import cancel, defaults_of, queue_run
from training.storage import quotas

State, Reason = RoundSeries.State, RoundSeries.Reason
RUNS = ("answers_run", "accuracy_run", "reward_run", "examples_run", "training_run", "eval_run")
MOST_AT_ONCE = 3  # rounds that one look may begin
log = logging.getLogger("assay.rounds")
Part = Callable[[RoundSeries, Round], bool]


def run_has_ended(run: Run) -> None:
    """Go on with the rounds that a run is of; called at the end of every run."""
    for series in RoundSeries.objects.filter(project=run.project_id, state=State.RUNNING):
        advance(series)


def periodic_task() -> bool:
    """Do the periodic task: go on where people have annotated or voted, and with what no signal reached; cancel what
    was queued by somebody who died before seeing that the rounds were cancelled."""
    cancel_late(RoundSeries.objects.filter(state=State.CANCELLED), KEY, "rounds.cancelled")
    running = RoundSeries.objects.filter(state=State.RUNNING)
    each_alone(running, advance, log, "%s could not be gone on with; trying again.")
    return False


def advance(series: RoundSeries) -> None:
    """Take every step that can be taken now. A quota that is used up is no problem of a round: the next call tries
    again."""
    for _ in range(MOST_AT_ONCE):
        series.refresh_from_db()
        one = current(series)
        if one is None or one.problem or series.state != State.RUNNING:
            return
        try:
            if not all(part(series, one) for part in PARTS):
                return
        except Refused as refused:
            if not quotas.is_used_up(refused):
                Round.objects.filter(pk=one.pk).update(problem=" ".join(refused.errors.values()))
            return


def current(series: RoundSeries) -> Round | None:
    """Return the round that goes on, with all that it points at."""
    return rounds_of(series).filter(number__gt=0).last()


def rounds_of(series: RoundSeries) -> QuerySet[Round]:
    rows = Round.objects.filter(series=series).order_by("number")
    return rows.select_related("series__project", "policy", "model", "judgements", "dataset", *RUNS)


# The parts of a round: each returns whether it is done, so that the next can begin


def _has_prompts(series: RoundSeries, one: Round) -> bool:
    """The prompts that all rounds take are frozen."""
    return round_judging.freeze_prompts(series)


def _has_answers(series: RoundSeries, one: Round) -> bool:
    """The newest policy answers the train prompts."""
    if one.answers_run is None:
        if _is_spent(series):
            return False
        assert one.policy is not None
        each = {"completions_per_prompt": series.plan["answers_per_prompt"]}
        if one.policy.folder:
            config = {**_alike(series), **each}
            run = _queue(
                series, one, "answers", kind="sample", parent=one.policy, dataset=series.prompts, config=config
            )
        else:  # best-of-N: a way of choosing among the first model's answers
            run = _queue(
                series, one, "answers", kind="best_of", parent=series.parent, dataset=series.prompts,
                reward_model=_reward_before(one), config={**_alike(series), **series.plan["arm"]["config"], **each},
            )  # fmt: skip
        _take(one, "answers_run", run)
    return _has_succeeded(one.answers_run)


def _is_annotated(series: RoundSeries, one: Round) -> bool:
    """People compare pairs of these answers; enough of it is frozen."""
    if one.dataset is not None:
        return True
    if one.opened_at is None:
        round_judging.open_round(series, one)
        one.refresh_from_db(fields=["opened_at", "needed"])
    return round_judging.freeze_judgements(series, one)


def _is_measured(series: RoundSeries, one: Round) -> bool:
    """The reward model of the round before is tried on the newest annotations, before one is fitted on them."""
    before = _reward_before(one)
    if before is None or one.accuracy:
        return True
    if one.accuracy_run is None:
        by = "people" if series.plan["judge"] == AnnotatorKind.PERSON else "simulation"
        config = {"measure": "reward_accuracy", "judged_by": by, "limit": 1_000_000, "contamination": False}
        run = _queue(
            series, one, "accuracy", kind="evaluate", parent=before, other_dataset=one.judgements, config=config
        )
        _take(one, "accuracy_run", run)
    measured = one.accuracy_run
    if measured is None or not _has_succeeded(measured):
        return False
    figure = (measured.result.get("metrics") or {}).get("pair accuracy") or {}
    one.accuracy = {name: figure.get(name) for name in ("value", "lower", "upper", "n")}
    one.save(update_fields=["accuracy"])
    value = one.accuracy["value"]
    if value is not None and stop_rules.has_drifted(value, series.plan["accuracy_floor"]):
        stop(series, Reason.DRIFT)
        return False
    return True


def _is_fitted(series: RoundSeries, one: Round) -> bool:
    """A reward model learns from the annotations that the plan says."""
    if not METHODS[series.plan["arm"]["method"]].needs_reward:
        return True
    if one.reward_run is None:
        if _is_spent(series):
            return False
        config = series.plan["reward_config"]
        _take(one, "reward_run", _queue(series, one, "reward", kind="reward", parent=_start(series, one),
                                        dataset=one.dataset, config=config))  # fmt: skip
    return _has_succeeded(one.reward_run)


def _is_trained(series: RoundSeries, one: Round) -> bool:
    """The policy learns, by the plan's method."""
    method, arm = METHODS[series.plan["arm"]["method"]], series.plan["arm"]
    reward = one.reward_run.output_model if one.reward_run is not None else None
    start = _start(series, one)
    if method.draws_examples and one.examples_run is None:
        run = _queue(series, one, "examples", kind="rejection", parent=start, dataset=series.prompts,
                     reward_model=reward, config=arm["drawing"])  # fmt: skip
        _take(one, "examples_run", run)
    if method.draws_examples and not _has_succeeded(one.examples_run):
        return False
    if one.training_run is None:
        if _is_spent(series):
            return False
        datasets = {
            "examples": one.examples_run.output_dataset if one.examples_run is not None else None,
            "preferences": one.dataset, "prompts": series.prompts, "questions": series.questions,
        }  # fmt: skip
        config = arm["config"]
        if method.kind == "best_of":
            each = {"completions_per_prompt": series.plan["completions_per_prompt"]}
            config = {**_alike(series), **config, **each}
        run = _queue(
            series, one, "training", kind=method.kind, parent=start, dataset=datasets[method.takes],
            reward_model=reward if method.trains_by_reward else None, config=config, name=model_name(one),
        )  # fmt: skip
        _take(one, "training_run", run)
    if one.model is None and _has_succeeded(one.training_run) and one.training_run is not None:
        one.model = one.training_run.output_model
        one.save(update_fields=["model"])
    return one.model is not None


def _has_eval_answers(series: RoundSeries, one: Round) -> bool:
    """The new model answers the eval prompts, and at the beginning the first one too."""
    ready = True
    for each in rounds_of(series).filter(number__in=[0, one.number]):
        if each.eval_run is None:
            is_answered = each.model is not None and not each.model.folder  # best-of-N: its run is its answers
            _take(each, "eval_run", each.training_run if is_answered else _queue_eval(series, each))
        ready = ready and _has_succeeded(each.eval_run)
    return ready


def _queue_eval(series: RoundSeries, one: Round) -> Run:
    each = {"completions_per_prompt": series.plan["completions_per_prompt"]}
    return _queue(
        series,
        one,
        "eval",
        kind="sample",
        parent=one.model,
        dataset=series.questions,
        config={**_alike(series), **each},
    )


def _has_entered(series: RoundSeries, one: Round) -> bool:
    """The new model meets the one before in the arena: both enter at one moment, once."""
    if one.entered_at is None:
        moment = timezone.now()
        with transaction.atomic():
            if Round.objects.filter(pk=one.pk, entered_at=None).update(entered_at=moment):
                Round.objects.filter(series=series, number=0, entered_at=None).update(entered_at=moment)
                for model in (one.policy, one.model):
                    _enter(series, model)
        one.refresh_from_db(fields=["entered_at"])
    return True


def _enter(series: RoundSeries, model: LanguageModel | None) -> None:
    """Enter a model; one that somebody has taken out of the arena stays out, but for the first."""
    if model is None or model.retired_at is not None:
        return
    has_left = Contestant.objects.filter(project=series.project, model=model).exclude(left_at=None).exists()
    if not has_left or model == series.parent:
        enter_arena(project=series.project, model=model)


def _is_compared(series: RoundSeries, one: Round) -> bool:
    """Blind votes between the two, as many as the plan asks for; what they say is kept."""
    if not one.gain:
        before = Round.objects.get(series=series, number=one.number - 1)
        gain = round_votes.gain_of(series, one, before)
        if gain is None:
            return False
        one.gain = vars(gain)
        Round.objects.filter(pk=one.pk, gain={}).update(gain=one.gain)
    return True


def _has_next(series: RoundSeries, one: Round) -> bool:
    """Stop by a rule of the plan, or begin the next round; return whether one has begun."""
    plan = series.plan
    if stop_rules.from_json(one.gain).excludes(plan["gain"]):
        stop(series, Reason.NO_GAIN)
    elif one.number >= plan["rounds"]:
        stop(series, Reason.ROUNDS)
    elif not _is_spent(series):
        _, is_new = Round.objects.get_or_create(series=series, number=one.number + 1, defaults={"policy": one.model})
        return is_new
    return False


PARTS: tuple[Part, ...] = (
    _has_prompts, _has_answers, _is_annotated, _is_measured, _is_fitted, _is_trained, _has_eval_answers, _has_entered,
    _is_compared, _has_next,
)  # fmt: skip


def stop(series: RoundSeries, reason: str, *, by: User | None = None) -> bool:
    """Stop rounds once, by a rule of their plan, and notify the project's researchers, except whoever did it; return
    whether this call did."""
    live = RoundSeries.objects.filter(pk=series.pk, state__in=(State.RUNNING, State.PAUSED))
    with transaction.atomic():
        has_stopped = live.update(state=State.STOPPED, reason=reason, stopped_at=timezone.now()) > 0
        if has_stopped:
            about = f"{series.name}: {Reason(reason).label}"
            audit.record(action="rounds.stopped", about=about, by=None, project=series.project)
            every = list(rounds_of(series))
            for one in every:
                round_judging.close_round(one)
            series.refresh_from_db()
            notices.tell(
                project=series.project, text=f"{series.name}: {why_stopped(series, every[-1])}", but=by,
                url=reverse("round-series", args=[series.project.slug, series.pk]), owner=series.created_by_id,
            )  # fmt: skip
    series.refresh_from_db()
    return has_stopped


def _is_spent(series: RoundSeries) -> bool:
    """Stop where the runs have taken the seconds of the plan; return whether they have."""
    limit = series.plan["seconds"]
    return limit is not None and seconds_spent(series) >= limit and (stop(series, Reason.SECONDS) or True)


def _start(series: RoundSeries, one: Round) -> LanguageModel | None:
    """Return what a round trains from: the newest policy, or as the plan says always the first."""
    return series.parent if series.plan["starts"] == FROM_FIRST else one.policy


def _reward_before(one: Round) -> LanguageModel | None:
    before = Round.objects.filter(series=one.series_id, number=one.number - 1).select_related(
        "reward_run__output_model"
    )
    run = before.values_list("reward_run__output_model", flat=True).first()
    return LanguageModel.objects.get(pk=run) if run is not None else None


def _alike(series: RoundSeries) -> dict[str, Any]:
    """Return the sampling of the first model as the plan has it: all that comes of it answers so. Older plans have
    none."""
    return series.plan.get("answers") or defaults_of("sample", series.project, series.parent)


def _has_succeeded(run: Run | None) -> bool:
    return run is not None and run.state == Run.State.SUCCEEDED


def _take(one: Round, field: str, run: Run | None) -> None:
    setattr(one, field, run)
    one.save(update_fields=[field])


def _queue(series: RoundSeries, one: Round, step: str, *, name: str = "", **order: Any) -> Run:
    by = series.created_by
    if by is None:
        raise Refused(409, by="The account that ordered the rounds is gone; order new ones.")
    run = queue_run(
        project=series.project, by=by, enters_arena=False, was_allowed=True, finds_name=True,
        seed=series.plan["seed"] + one.number,
        name=name or f"{model_name(one)[:90]}: {step}", idempotency_key=f"rounds:{series.pk}:{one.number}:{step}",
        **order,
    )  # fmt: skip
    cancelled = RoundSeries.objects.filter(pk=series.pk, state=State.CANCELLED).exists()
    if not run.is_finished and cancelled:  # meanwhile, perhaps before it saw this run
        return cancel(run=run, by=by, was_allowed=True)
    return run


def model_name(one: Round) -> str:
    """Return what a round's model is called; names of models are unique on a site, and so is the number in it."""
    return f"{one.series.name[:40]} {one.series_id}: round {one.number}"
