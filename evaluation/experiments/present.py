"""What the page and the API show of an experiment: plain data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from django.db.models import Q, QuerySet

from annotate.models import DatasetFreeze
from common.charts.scene import Svg
from evaluation.core.absent_models import Lack, in_words
from evaluation.core.recent_values import Recent
from evaluation.experiments import (
    arm_checkpoints,
    arm_measures,
    experiment_results,
    foresight,
    score_frontiers,
)
from evaluation.experiments.arm_measures import Figure, SkillChange, mean_figure
from evaluation.experiments.arm_methods import METHODS
from evaluation.experiments.experiment_progress import members, ordered_runs, waits_for_quota
from evaluation.experiments.experiment_results import ArmRating, Compared, Reached, Results
from evaluation.experiments.experiment_start import freezes_of
from evaluation.experiments.experiment_words import (
    Change,
    changes,
    changes_in_words,
    options_in_words,
    sentence,
    state_of,
    verdict_sentence,
    what_is_missing,
)
from evaluation.experiments.family_tests import AGAINST_BASELINE
from evaluation.experiments.read_votes import mark_of, read_votes
from evaluation.experiments.score_frontiers import Frontier
from evaluation.leaderboard.interval_pictures import axis_over, axis_picture, interval_picture
from evaluation.models import ArmModel, Experiment, ExperimentArm
from training.models import Attempt, Run

State = Experiment.State
_TOLD_IN = (State.VOTING, State.DECIDED)
_recent = Recent(32)
_recent_fits = Recent(32)


@dataclass(frozen=True)
class SeedRow:
    """One seed of an arm: where it is, its runs, those that measure its model, and how far its model went."""

    one: ArmModel
    state: str
    runs: list[Run]
    measuring: list[Run]
    point: Frontier | None


@dataclass(frozen=True)
class ArmRow:
    """An arm with what is known of it. `seconds` are of the clock, of one model, training and its sampling alone;
    `annotations` are those it learnt from."""

    arm: ExperimentArm
    title: str
    options: str
    seeds: list[SeedRow]
    seconds: float | None
    annotations: int
    rating: ArmRating | None
    picture: Svg | None
    compared: Compared | None
    kl: Figure | None
    score: Figure | None
    skills: SkillChange | None = None

    @property
    def skill_points(self) -> str:
        return _points(self.skills.value) if self.skills else ""

    @property
    def skill_interval(self) -> str:
        if self.skills is None or self.skills.lower is None or self.skills.upper is None:
            return ""
        return f"{_points(self.skills.lower)} to {_points(self.skills.upper)}"


@dataclass(frozen=True)
class Shown:
    """Everything of the page. `changed` is what is otherwise than in the plan, `lacks` are what keeps votes away,
    `earlier` are experiments on the same weights whose votes could be seen when this one was ordered.
    `verdict` is None before the plan's rule has stopped the experiment; `exploratory` is what all votes so far say,
    once there is a verdict and more than is in it."""

    experiment: Experiment
    sentence: str
    changed: list[Change]
    lacks: list[Lack]
    reached: Reached | None
    rows: list[ArmRow]
    verdict: Results | None
    verdict_sentence: str
    exploratory: Results | None
    axis: Svg | None
    frontiers: list[Frontier]
    frontier_picture: Svg | None
    colours: dict[str, str]
    reward_seconds: float | None
    earlier: list[Experiment]
    freezes: list[DatasetFreeze] = field(default_factory=list)

    @property
    def votes_left(self) -> int:
        """Return how many votes the rule of the plan waits for; 0 where it waits for a moment."""
        return max(self.reached.needed - self.reached.votes, 0) if self.reached and self.reached.needed else 0

    @property
    def freezing_percent(self) -> int:
        """Return how far the datasets are that it waits for, on average."""
        return sum(one.percent for one in self.freezes) // max(len(self.freezes), 1)

    @property
    def key(self) -> list[tuple[str, str, bool]]:
        """Return the arms that have a line or a dot: name, colour, and whether its lines are dashed."""
        drawn, dashed = {one.arm for one in self.frontiers}, score_frontiers.repeated(list(self.colours))
        return [(arm, colour, arm in dashed) for arm, colour in self.colours.items() if arm in drawn]


def shown(experiment: Experiment) -> Shown:
    freezes = freezes_of(experiment) if experiment.state == State.FREEZING else []
    every = members(experiment)
    arms = list(experiment.arms.all())
    reached, exploratory = _by_votes(experiment)
    verdict = experiment_results.from_json(experiment.verdict) if experiment.verdict else None
    ratings = {one.arm: one for one in verdict.arms} if verdict else {}
    axis = axis_over([(one.lower, one.upper) for one in ratings.values()]) if ratings else None
    ordered = ordered_runs(experiment)
    measured, measuring = arm_measures.points(experiment, every, ordered), arm_measures.measuring_runs(ordered)
    found = score_frontiers.frontiers(every, measured)
    colour_by_arm = score_frontiers.colours([arm.name for arm in arms])
    seconds, skills = _seconds(every), arm_measures.skill_changes(experiment, every)
    annotations = {method: annotations_of(experiment, method) for method in {arm.method for arm in arms}}
    rows = []
    for arm in arms:
        of_arm = [one for one in every if one.arm_id == arm.pk]
        points = {one.seed: one for one in found if one.arm == arm.name}
        rating = ratings.get(arm.pk)
        rows.append(
            ArmRow(
                arm=arm,
                title=METHODS[arm.method].title,
                options=options_in_words(arm),
                seeds=[
                    SeedRow(one, state_of(one), one.runs, measuring.get(one.pk, []), points.get(one.seed))
                    for one in of_arm
                ],
                seconds=_mean([seconds[one.pk] for one in of_arm if one.pk in seconds]),
                annotations=annotations[arm.method],
                rating=rating,
                picture=interval_picture(axis, rating.rating, rating.lower, rating.upper) if axis and rating else None,
                compared=_against_baseline(experiment, arm, verdict),
                kl=mean_figure([one.kl for one in _alike(points.values())]),
                score=mean_figure([one.score for one in _alike(points.values())]),
                skills=skills.get(arm.pk),
            )
        )
    rows.sort(key=lambda row: (row.arm.is_exploratory, -(row.rating.rating if row.rating else 0), row.arm.pk))
    return Shown(
        experiment=experiment,
        sentence=sentence(experiment, every, reached, waits_for_quota(experiment, every), freezes),
        changed=changes(experiment, every) if reached is not None and experiment.state in _TOLD_IN else [],
        lacks=what_is_missing(experiment, every),
        freezes=freezes,
        reached=reached,
        rows=rows,
        verdict=verdict,
        verdict_sentence=verdict_sentence(experiment, verdict) if verdict else "",
        exploratory=exploratory,
        axis=axis_picture(axis) if axis else None,
        frontiers=found,
        frontier_picture=score_frontiers.picture(found, colour_by_arm),
        colours=colour_by_arm,
        reward_seconds=seconds_by_run([experiment.reward_run_id]).get(experiment.reward_run_id),
        earlier=list(_earlier(experiment)),
    )


def _earlier(experiment: Experiment) -> QuerySet[Experiment]:
    """Return those before it on the same weights, under whatever name, whose models were in the arena already."""
    parent = experiment.parent
    same = Q(parent=parent)
    if parent.content_hash:
        same |= Q(parent__content_hash=parent.content_hash)
    return experiment.project.experiments.filter(same, entered_at__lt=experiment.created_at).order_by("pk")


def _alike(points: Iterable[Frontier]) -> list[Frontier]:
    """Return those that were measured, where any was: what training recorded is of other prompts and draws."""
    every = list(points)
    return [one for one in every if one.measured is not None] or every


def annotations_of(experiment: Experiment, method: str) -> int:
    """Return how many annotations an arm learns from."""
    counts = experiment.dataset.counts
    if method == "base":
        return 0
    if method == "sft" and experiment.examples is not None:
        examples = experiment.examples
        return examples.ratings.count() + examples.comparisons.count() + examples.demonstrations.count()
    if method == "dpo":
        return sum(counts.get("winners", {}).get(side, 0) for side in ("model_a", "model_b"))
    if method == "kto":
        return int(counts.get("ratings", 0))
    return int(counts.get("ratings", 0)) + int(counts.get("comparisons", 0))


def _against_baseline(experiment: Experiment, arm: ExperimentArm, verdict: Results | None) -> Compared | None:
    if verdict is None or experiment.plan["family"] != AGAINST_BASELINE:
        return None
    return next((one for one in verdict.comparisons if one.arm == arm.name), None)


def _by_votes(experiment: Experiment) -> tuple[Reached | None, Results | None]:
    """Return how far the stopping rule is, and what all votes so far say beside a verdict. After the verdict both are
    found again when a vote on the project's models comes or changes, or a model enters."""
    if experiment.state != State.DECIDED:
        return (experiment_results.reached_and_elsewhere(experiment) if experiment.entered_at else None), None
    mark = mark_of(experiment.project, experiment.plan["judge"])
    models = experiment_results.everybody(experiment)
    key, state = (experiment.pk, experiment.plan_hash), f"{mark} {[one.model_id for one in models]}"
    if (kept := _recent.get(key, state)) is None:
        kept = experiment_results.reached_and_elsewhere(experiment), _exploratory(experiment, models)
        _recent.put(key, state, kept)
    return kept


def _exploratory(experiment: Experiment, models: Sequence[ArmModel]) -> Results | None:
    votes = experiment_results.votes_on(experiment, models)
    read = read_votes(votes)
    late = [one.model_id for one in models if one.arm.is_exploratory]
    on_late = Q(completion_a__model__in=late) | Q(completion_b__model__in=late)
    is_later = read.last > (experiment.last_comparison_id or 0)
    if not is_later and not (late and votes.filter(on_late).exists()):
        return None
    key, state = (experiment.pk, experiment.plan_hash), f"{len(models)} {read.state}"
    if (fitted := _recent_fits.get(key, state)) is None:
        fitted = experiment_results.results(experiment, models, read.votes)
        _recent_fits.put(key, state, fitted)
    return fitted


def _seconds(every: Sequence[ArmModel]) -> dict[int, float]:
    """Return what each model took, by its row: all attempts at the runs that made it."""
    runs_of = {one.pk: (one.examples_run_id, one.training_run_id) for one in every if one.model_id}
    seconds = seconds_by_run(pk for ids in runs_of.values() for pk in ids)
    spans = {one: [seconds[pk] for pk in ids if pk in seconds] for one, ids in runs_of.items()}
    return {one: sum(of_one) for one, of_one in spans.items() if of_one}


def seconds_by_run(ids: Iterable[int | None]) -> dict[int | None, float]:
    """Return the seconds of all ended attempts, of runs that have any."""
    seconds: dict[int | None, float] = defaultdict(float)
    ended = Attempt.objects.filter(run__in=[pk for pk in ids if pk is not None]).exclude(ended_at=None)
    for run, start, end in ended.values_list("run", "started_at", "ended_at"):
        if end is not None:
            seconds[run] += (end - start).total_seconds()
    return dict(seconds)


def _points(share: float) -> str:
    """Return a change of a share in points of a percent: 0.025 is +2.5."""
    text = f"{100 * share:+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text


def _mean(values: Sequence[float]) -> float | None:
    return mean(values) if values else None


def as_json(shown_: Shown) -> dict[str, Any]:
    """Return an experiment as the API tells it."""
    experiment = shown_.experiment
    return {
        "id": experiment.pk,
        "project": experiment.project.slug,
        "name": experiment.name,
        "state": experiment.state,
        "sentence": in_words(shown_.lacks, f"{shown_.sentence} {changes_in_words(shown_.changed)}".rstrip()),
        "plan": experiment.plan,
        "plan_hash": experiment.plan_hash,
        "foreseen": foresight.of_plan(experiment),
        "parent": experiment.parent_id,
        "dataset": experiment.dataset_id,
        "reward_model": experiment.reward_model_id,
        "reward_run": experiment.reward_run_id,
        "votes": shown_.reached.votes if shown_.reached else 0,
        "entered_at": experiment.entered_at,
        "decided_at": experiment.decided_at,
        "created_at": experiment.created_at,
        "earlier": [one.pk for one in shown_.earlier],
        "freezes": [one.pk for one in shown_.freezes],
        "verdict": experiment.verdict or None,
        "verdict_sentence": shown_.verdict_sentence,
        "exploratory": _exploratory_json(shown_.exploratory) if shown_.exploratory else None,
        "arms": [_arm_json(row) for row in shown_.rows],
    }


def _exploratory_json(exploratory: Results) -> dict[str, Any]:
    """Return them without the votes that a verdict left out."""
    return {name: value for name, value in exploratory.as_json().items() if name != "left_out"}


def _arm_json(row: ArmRow) -> dict[str, Any]:
    return {
        "id": row.arm.pk,
        "name": row.arm.name,
        "method": row.arm.method,
        "config": row.arm.config,
        "is_exploratory": row.arm.is_exploratory,
        "checkpoint_of": row.arm.config.get(arm_checkpoints.OF),
        "step": row.arm.config.get(arm_checkpoints.STEP),
        "seconds": row.seconds,
        "annotations": row.annotations,
        "kl": row.kl and row.kl.value,
        "kl_lower": row.kl and row.kl.lower,
        "kl_upper": row.kl and row.kl.upper,
        "score": row.score and row.score.value,
        "score_lower": row.score and row.score.lower,
        "score_upper": row.score and row.score.upper,
        "tax": row.skills.by_seed if row.skills else [],
        "tax_lower": row.skills and row.skills.lower,
        "tax_upper": row.skills and row.skills.upper,
        "tax_items": row.skills and row.skills.items,
        "models": [
            {
                "seed": one.one.seed,
                "model": one.one.model_id,
                "state": one.state,
                "problem": one.one.problem,
                "runs": [run.pk for run in one.runs],
                "measuring_runs": [run.pk for run in one.measuring],
                "kl": one.point and one.point.kl.value,
                "score": one.point and one.point.score.value,
            }
            for one in row.seeds
        ],
    }
