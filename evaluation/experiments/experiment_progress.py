"""Bring an experiment as far as it can go: queue what can be queued, enter all models at one moment, decide.

Whoever ends a run calls it, and the background worker every few seconds: each step is found by what stands, and made
once (by an idempotency key or a conditional update), so that two that call at once, or one that is killed, do no harm.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.core.periodic_tasks import each_alone
from annotate.language_models.actions import enter_arena
from annotate.models import Contestant, Dataset, LanguageModel, User
from evaluation.core.cancelled_runs import cancel_late
from evaluation.core.recent_values import Recent
from evaluation.experiments import arm_checkpoints, arm_measures, experiment_results, experiment_start
from evaluation.experiments.arm_methods import METHODS
from evaluation.models import ArmModel, Experiment
from training.models import Run
from training.runs.ordering.actions import cancel, defaults_of, queue_run
from training.storage import quotas

State = Experiment.State
LIVE = (State.TRAINING, State.ANSWERING, State.VOTING, State.DECIDED)  # exploratory arms go on after the verdict
LOST = (Run.State.FAILED, Run.State.CANCELLED)
LOST_REWARD = "The reward model's run {} has "  # how the problem begins of an arm that has none for it
KEY = ":experiment:"  # in the idempotency key of each of its runs, after the account's scope
log = logging.getLogger("assay.experiments")
MEASURED_WITHIN = timedelta(days=3)  # of the verdict: what keeps them from it longer lasts
_logged_refusals = Recent(512)


def run_has_ended(run: Run) -> None:
    """Go on with the experiment that a run is of; called at the end of every run."""
    experiment_start.revive(run)
    for experiment in going_on().filter(project=run.project_id):
        advance(experiment)


def periodic_task() -> bool:
    """Do the periodic task: go on with what no signal reached, stop votes when the plan's rule says so, and cancel
    what was queued by somebody who died before seeing that the experiment was cancelled."""
    cancel_late(Experiment.objects.filter(state=State.CANCELLED), KEY, "experiment.cancelled")
    experiments = (one for one in going_on() if one.state != State.DECIDED or unentered(one) or _unmeasured(one))
    each_alone(experiments, advance, log, "%s could not be gone on with; trying again.")
    return False


def going_on() -> QuerySet[Experiment]:
    """Return the experiments that have something to wait for; after the verdict, those with a model on its way, and
    for some days those whose models may not all be measured."""
    on_its_way = ArmModel.objects.filter(arm__experiment=OuterRef("pk"), entered_at=None)
    before = [State.FREEZING, *(state for state in LIVE if state != State.DECIDED)]
    lately = Q(decided_at__gte=timezone.now() - MEASURED_WITHIN, reward_model__isnull=False)
    after = Q(Exists(on_its_way)) | lately
    return Experiment.objects.filter(Q(state__in=before) | Q(after, state=State.DECIDED))


def _unmeasured(experiment: Experiment) -> list[ArmModel]:
    return arm_measures.without_point(experiment, members(experiment), ordered_runs(experiment))


def waits_for_quota(experiment: Experiment, every: Sequence[ArmModel]) -> str:
    """Return the words of the quota that keeps models of an experiment waiting, "" where none does."""
    if experiment.state not in (State.TRAINING, State.ANSWERING) or not any(_has_no_run(one) for one in every):
        return ""
    try:
        quotas.check(experiment.project)
    except Refused as refused:
        return " ".join(refused.errors.values())
    return ""


def _has_no_run(one: ArmModel) -> bool:
    return not is_lost(one) and one.answers_run is None and all(run.is_finished for run in one.runs)


def unentered(experiment: Experiment) -> bool:
    """Return whether a model is still on its way to the arena."""
    return any(one.entered_at is None and not is_lost(one) for one in members(experiment))


def members(experiment: Experiment) -> list[ArmModel]:
    runs = ("examples_run__output_dataset", "training_run__output_model", "answers_run")
    return list(ArmModel.objects.filter(arm__experiment=experiment).select_related("arm__created_by", "model", *runs))


def is_lost(one: ArmModel) -> bool:
    """Return whether a run of it failed or was refused, so that it waits for somebody."""
    return bool(one.problem) or any(run.state in LOST for run in one.runs)


def has_answered(one: ArmModel) -> bool:
    """Return whether its answers to the eval prompts stand."""
    return one.model is not None and one.answers_run is not None and one.answers_run.state == Run.State.SUCCEEDED


def advance(experiment: Experiment) -> None:
    """Take every step that can be taken now."""
    experiment.refresh_from_db()
    if experiment.state == State.FREEZING:
        experiment_start.begin(experiment)
    if experiment.state not in LIVE:
        return
    _advance_models(experiment)
    _enter_together(experiment)
    _enter_exploratory(experiment)
    _measure_entered(experiment)
    if experiment.state == State.VOTING:
        experiment_results.decide(experiment)


def _advance_models(experiment: Experiment) -> None:
    """Queue what each model needs next. A quota that is used up is no model's problem: the next call tries again."""
    try:
        _train_reward(experiment)
    except Refused as refused:
        if quotas.is_used_up(refused):
            return
        _tell(experiment, refused)
    every = members(experiment)
    for one in members(experiment) if arm_checkpoints.add_kept(experiment, every) else every:
        if not _is_live(experiment):
            return
        try:
            _advance_model(experiment, one)
        except Refused as refused:
            if quotas.is_used_up(refused):
                return
            ArmModel.objects.filter(pk=one.pk).update(problem=" ".join(refused.errors.values()))


def _is_live(experiment: Experiment) -> bool:
    return Experiment.objects.filter(pk=experiment.pk, state__in=LIVE).exists()


def _tell(experiment: Experiment, refused: Refused) -> None:
    """Tell the models that need a reward model why there is none."""
    methods = [method.name for method in METHODS.values() if method.needs_reward]
    waiting = ArmModel.objects.filter(arm__experiment=experiment, arm__method__in=methods, model=None, problem="")
    waiting.update(problem=" ".join(refused.errors.values()))


def _train_reward(experiment: Experiment) -> None:
    """Queue the reward model once, where an arm needs one and none was chosen; take it up when it stands."""
    arms = experiment.arms.values_list("method", flat=True)
    if experiment.reward_model is not None or not any(METHODS[method].needs_reward for method in arms):
        return
    run = experiment.reward_run
    if run is None:
        run = _queue(
            experiment, "reward", kind="reward", name=_name(experiment, "reward"), parent=experiment.parent,
            dataset=experiment.dataset,
        )  # fmt: skip
        Experiment.objects.filter(pk=experiment.pk).update(reward_run=run)
    elif run.state == Run.State.SUCCEEDED:
        Experiment.objects.filter(pk=experiment.pk).update(reward_model=run.output_model)
    if run.state not in LOST:  # perhaps again: somebody has resumed it
        waiting = ArmModel.objects.filter(arm__experiment=experiment, problem__startswith=LOST_REWARD.format(run.pk))
        waiting.update(problem="")
    experiment.refresh_from_db()


def _advance_model(experiment: Experiment, one: ArmModel) -> None:
    if one.problem:
        return
    method = METHODS[one.arm.method]
    if method.needs_reward and experiment.reward_model is None:
        run = experiment.reward_run
        if run is not None and run.state in LOST:
            words = LOST_REWARD.format(run.pk)
            raise Refused(409, reward_model=f"{words}{run.state}: {run.reason_without_log}")
        return
    if one.model is None and method.draws_examples and one.examples_run is None:
        _take(one, "examples_run", _queue_drawing(experiment, one))
    if one.model is None and one.training_run is None and _can_train(one):
        _take(one, "training_run", _queue_training(experiment, one))
    made = one.training_run.output_model if one.training_run else None
    if one.model is None and made is not None:
        one.model = made
        one.save(update_fields=["model"])
    if one.model is not None and one.answers_run is None:
        # Before the answers are taken up, which is once.
        arm_measures.order_tax(experiment, one, ordered_runs(experiment), _measuring(experiment, one))
        is_answered = one.arm.method == "best_of"  # its run is its answers
        _take(one, "answers_run", one.training_run if is_answered else _queue_answers(experiment, one))


def _can_train(one: ArmModel) -> bool:
    return not METHODS[one.arm.method].draws_examples or (
        one.examples_run is not None and one.examples_run.output_dataset is not None
    )


def _take(one: ArmModel, field: str, run: Run | None) -> None:
    setattr(one, field, run)
    one.save(update_fields=[field])


def _queue_drawing(experiment: Experiment, one: ArmModel) -> Run:
    return _queue(
        experiment, f"{one.pk}:examples", by=one.arm.created_by, kind="rejection", name=_run_name(one, "examples"),
        parent=experiment.parent, dataset=experiment.prompts, reward_model=experiment.reward_model,
        config=one.arm.config["drawing"], seed=one.seed,
    )  # fmt: skip


def _queue_training(experiment: Experiment, one: ArmModel) -> Run:
    method, config = METHODS[one.arm.method], dict(one.arm.config["config"])
    datasets: dict[str, Dataset | None] = {
        "examples": one.examples_run.output_dataset if one.examples_run else experiment.examples,
        "preferences": experiment.dataset,
        "prompts": experiment.prompts,
        "questions": experiment.questions,
    }
    if method.name == "best_of":
        alike = _alike(experiment)
        config = {**alike, **config, "completions_per_prompt": alike["completions_per_prompt"]}
    return _queue(
        experiment, f"{one.pk}:training", by=one.arm.created_by, kind=method.kind, name=model_name(one),
        parent=experiment.parent,
        dataset=datasets[method.takes], reward_model=experiment.reward_model if method.trains_by_reward else None,
        config=config, seed=one.seed,
    )  # fmt: skip


def _queue_answers(experiment: Experiment, one: ArmModel) -> Run:
    assert one.model is not None
    return _queue(
        experiment, f"{one.pk}:answers", by=one.arm.created_by, kind="sample",
        name=_run_name(one, "answers for the arena"), parent=one.model, dataset=experiment.questions, seed=one.seed,
        config=_alike(experiment),
    )  # fmt: skip


def _alike(experiment: Experiment) -> dict[str, Any]:
    """Return how all models answer: with the settings of the first as the plan has them. Older plans have none."""
    plan = experiment.plan
    settings = plan.get("answers") or defaults_of("sample", experiment.project, experiment.parent)
    return {**settings, "completions_per_prompt": plan["completions_per_prompt"]}


def _measure_entered(experiment: Experiment) -> None:
    """Measure the models that are in the arena: before, their runs would keep others from it."""
    for one in _unmeasured(experiment):
        try:
            arm_measures.order_point(experiment, one, _measuring(experiment, one))
        except Refused as refused:
            if quotas.is_used_up(refused):
                return
            if _logged_refusals.get(one.pk, str(refused.errors)) is None:  # each look tries again
                log.warning("KL and score of %s are not measured: %s", one.model, " ".join(refused.errors.values()))
                _logged_refusals.put(one.pk, str(refused.errors), True)


def _measuring(experiment: Experiment, one: ArmModel) -> arm_measures.Queue:
    """Return what queues a run that measures a model, by the end of its key and what it does."""

    def queue(step: str, does: str, **order: Any) -> Run:
        return _queue(experiment, step, by=one.arm.created_by, name=_run_name(one, does), **order)

    return queue


def _queue(experiment: Experiment, step: str, *, by: User | None = None, **order: Any) -> Run:
    """Queue a run in the name of whoever ordered it, the arm or else the experiment; they may have left since."""
    by = by or experiment.created_by
    if by is None:
        raise Refused(409, by="The account that ordered the experiment is gone; order a new one.")
    run = queue_run(
        project=experiment.project, by=by, enters_arena=False, was_allowed=True, finds_name=True,
        idempotency_key=f"experiment:{experiment.pk}:{step}", **order,
    )  # fmt: skip
    if not run.is_finished and not _is_live(experiment):  # cancelled meanwhile, perhaps before it saw this run
        return cancel(run=run, by=by, was_allowed=True)
    return run


def ordered_runs(experiment: Experiment) -> QuerySet[Run]:
    """Return all runs that an experiment has ordered, those that measure its models too."""
    return Run.objects.filter(project=experiment.project, idempotency_key__contains=f"{KEY}{experiment.pk}:")


def model_name(one: ArmModel) -> str:
    """Return what the model of a seed is called; names of models are unique on a site, and so is the number in it."""
    return _name(one.arm.experiment, f"{one.arm.name} s{one.seed}")


def _run_name(one: ArmModel, does: str) -> str:
    return f"{model_name(one)[:80]} ({one.pk}): {does}"


def _name(experiment: Experiment, part: str) -> str:
    return f"{experiment.name[:40]} {experiment.pk}: {part}"[:120]


# Into the arena


def _enter_together(experiment: Experiment) -> None:
    """Enter all registered models at one moment, once each has its answers or has failed."""
    if experiment.entered_at is not None:
        return
    registered = [one for one in members(experiment) if not one.arm.is_exploratory]
    if experiment.state == State.TRAINING and all(one.model is not None or is_lost(one) for one in registered):
        _move(experiment, State.TRAINING, State.ANSWERING)
    if not all(has_answered(one) or is_lost(one) for one in registered):
        return
    ready = [one for one in registered if has_answered(one)]
    if len({one.arm_id for one in ready}) < 2:
        _move(experiment, State.ANSWERING, State.FAILED, lambda moment: _tell_failure(experiment))
        return
    _move(experiment, State.ANSWERING, State.VOTING, lambda moment: _enter(experiment, ready, moment))


def _tell_failure(experiment: Experiment) -> None:
    experiment_results.tell(experiment, "has failed: fewer than two arms have a model. The runs say why.")


def _enter_exploratory(experiment: Experiment) -> None:
    """Enter the models that came after the registered ones, each arm at one moment."""
    if experiment.entered_at is None:
        return
    late = [one for one in members(experiment) if one.entered_at is None]
    for arm in {one.arm_id for one in late}:
        of_arm = [one for one in late if one.arm_id == arm]
        if all(has_answered(one) or is_lost(one) for one in of_arm):
            with transaction.atomic():
                _enter(experiment, [one for one in of_arm if has_answered(one)], timezone.now())


def _enter(experiment: Experiment, ready: Sequence[ArmModel], moment: datetime) -> None:
    for one in ready:
        if one.model is not None and ArmModel.objects.filter(pk=one.pk, entered_at=None).update(entered_at=moment):
            _enter_model(experiment, one.model)


def _enter_model(experiment: Experiment, model: LanguageModel) -> None:
    has_left = Contestant.objects.filter(project=experiment.project, model=model).exclude(left_at=None).exists()
    if model.retired_at is None and (not has_left or model == experiment.parent):
        enter_arena(project=experiment.project, model=model)


def _move(experiment: Experiment, before: str, after: str, act: Callable[[datetime], None] | None = None) -> None:
    """Change the state once, whoever comes first, together with what belongs to it."""
    moment = timezone.now()
    with transaction.atomic():
        fields = {"entered_at": moment} if after == State.VOTING else {}
        if Experiment.objects.filter(pk=experiment.pk, state=before).update(state=after, **fields) and act:
            act(moment)
    experiment.refresh_from_db()
