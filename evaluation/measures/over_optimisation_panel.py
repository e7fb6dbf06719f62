"""Present the over-optimisation of a PPO run: the reward model's opinion along the steps, and people's beside it.

Score and KL are the run's own metrics. People's opinion is of the pairs that the human review asked about, the policy's
answer and its parent's to one prompt (train split); at the end stands the arena, the finished model against its parent
(eval split). People and simulations are told apart everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from annotate.models import AnnotatorKind, Comparison, LanguageModel, Project, Winner
from common.texts import percent
from evaluation.core.voter_names import voter_name
from evaluation.measures.over_optimisation_pictures import Curve, Judges, pictures
from evaluation.metrics import over_optimisation
from evaluation.metrics.over_optimisation import Opinion, Verdict
from evaluation.metrics.win_rates import Mean, WinRate, win_rate
from training.configs import current_names
from training.models import Run

TEMPLATE = "evaluation/measures/overoptimisation.html"
POINTS = 200  # of a curve at most
WHO = {AnnotatorKind.PERSON: "people", AnnotatorKind.SIMULATION: "simulated annotators"}
SCORES = ("score_mean", "score")
MOST_OPINIONS = 20_000


def context(run: Run) -> dict[str, Any]:
    """Return what a PPO run's page shows beside what training shows there."""
    return {"parting": of_run(run), "parting_template": TEMPLATE}


def of_model(model: LanguageModel, readable: QuerySet[Project]) -> dict[str, Any] | None:
    """Return the panel of a PPO run's model, for somebody who may read that run's project; None for others."""
    maker: Run | None = getattr(model, "made_by", None)
    if maker is None or maker.kind != "ppo" or not readable.filter(pk=maker.project_id).exists():
        return None
    return of_run(maker)


def of_run(run: Run) -> dict[str, Any] | None:
    """Return None until there is anything to show."""
    curves = [curve for curve in (_curve(run, SCORES, "score"), _curve(run, ("kl",), "KL, nats per answer")) if curve]
    opinions_by_kind = opinions(run)
    sides = [
        side
        for judge in (AnnotatorKind.PERSON, AnnotatorKind.SIMULATION)
        if (side := _side(run, judge, opinions_by_kind[judge]))
    ]
    if not curves and not sides:
        return None
    reward = "the reward function" if run.config.get("reward_function") else "the reward model"
    return {
        "run": run,
        "reward": reward,
        "curves": curves,
        "sides": sides or [_side(run, AnnotatorKind.PERSON, [], even_if_empty=True)],
        "pictures": pictures(curves, sides, reward),
        "rows": _rows(sides),
        "is_asked": run.reviews.filter(not_asked="").exists(),
        "review_every": current_names(run.kind, run.config).get("review_every", 0),
        "model": run.output_model,
        "parent": run.parent,
    }


def opinions(run: Run) -> dict[str, list[Opinion]]:
    """Return by kind of annotator every counted vote on a pair that the run's reviews asked about."""
    reviews = {r.policy_answer_id: r for r in run.reviews.filter(not_asked="")}
    pair = Q(completion_a__in=reviews) | Q(completion_b__in=reviews)
    # Not `ranking`: reviews ask about prompts of the train split, and both kinds of judges are told apart below.
    rows = Comparison.objects.counted().filter(pair, project=run.project).order_by("id")
    opinions: dict[str, list[Opinion]] = {AnnotatorKind.PERSON: [], AnnotatorKind.SIMULATION: []}
    names = ("id", "completion_a", "completion_b", "winner", "judge", "author", "visitor")
    for pk, a, b, winner, judge, author, visitor in rows.values_list(*names)[:MOST_OPINIONS]:
        review = reviews.get(a) or reviews[b]
        if {a, b} == {review.policy_answer_id, review.parent_answer_id}:
            points = _points(winner, is_a=a == review.policy_answer_id)
            voter = voter_name(author, visitor, pk)
            opinions[judge].append(Opinion(review.step, review.predicted, points, voter, review.prompt_id))
    return opinions


def _points(winner: str, *, is_a: bool) -> float:
    return {Winner.MODEL_A: float(is_a), Winner.MODEL_B: float(not is_a)}.get(Winner(winner), 0.5)


def _curve(run: Run, names: Sequence[str], title: str) -> Curve | None:
    last = run.metrics.order_by("-sequence").values_list("sequence", flat=True).first()
    if last is None:
        return None
    rows = run.metrics.order_by("sequence")
    if last > POINTS:
        rows = rows.filter(sequence__in={1 + round(i * (last - 1) / (POINTS - 1)) for i in range(POINTS)})
    points = []
    for step, values in rows.values_list("step", "values"):
        value = next((values[name] for name in names if isinstance(values.get(name), int | float)), None)
        if value is not None:
            points.append((float(step), float(value)))
    return Curve(title, points) if points else None


def _side(run: Run, judge: str, opinions: list[Opinion], *, even_if_empty: bool = False) -> Judges | None:
    arena = _arena(run, judge)
    if not opinions and arena is None and not even_if_empty:
        return None
    verdict = over_optimisation.verdict(opinions)
    return Judges(
        judge,
        WHO[AnnotatorKind(judge)],
        over_optimisation.bins(opinions),
        verdict,
        _sentences(verdict, WHO[AnnotatorKind(judge)], arena),
        arena,
    )


def _arena(run: Run, judge: str) -> WinRate | None:
    """Return the finished model against its parent, by counted votes of the eval split."""
    model, parent = run.output_model, run.parent
    if model is None or parent is None:
        return None
    is_between = Q(completion_a__model=model, completion_b__model=parent) | Q(
        completion_a__model=parent, completion_b__model=model
    )
    rows = Comparison.objects.counted().ranking(judge).filter(is_between, project=run.project)
    names = ("id", "completion_a__model", "winner", "author", "visitor", "prompt")
    votes = list(rows.order_by("id").values_list(*names)[:MOST_OPINIONS])
    if not votes:
        return None
    return win_rate(
        [_points(winner, is_a=a == model.pk) for _, a, winner, *_ in votes],
        [voter_name(author, visitor, pk) for pk, _, _, author, visitor, _ in votes],
        [prompt for *_, prompt in votes],
    )


# In words


def _sentences(verdict: Verdict, group: str, arena: WinRate | None) -> list[str]:
    sentences = [_verdict_text(verdict, group)]
    if verdict.trend is not None and verdict.trend.upper < 0:
        sentences.append(
            f"{group.capitalize()} liked its answers less over time: {_points_of(verdict.trend)} from first to last."
        )
    if arena is not None:
        comparison = "above" if arena.lower > 0.5 else "below" if arena.upper < 0.5 else "not different from"
        sentences.append(
            f"At the end, in the arena, {group} prefer the finished model to its parent in {_share(arena)} of "
            f"{arena.n} vote{'' if arena.n == 1 else 's'}: {comparison} one half."
        )
    return sentences


def _verdict_text(verdict: Verdict, group: str) -> str:
    n = f"{verdict.opinions} opinion{'' if verdict.opinions == 1 else 's'} of {group}"
    if verdict.growth is None:
        return (
            f"There are too few votes to see over-optimisation: {n} on its answers during training. About "
            f"{verdict.more} more, over all steps, would show a difference of {percent(over_optimisation.DETECTABLE)}."
        )
    change = f"{_points_of(verdict.growth)} from step {verdict.first} to step {verdict.last}, by {n}"
    if verdict.what == over_optimisation.PARTED:
        return f"The curves diverge: the score's promise has grown more than the votes of {group}, by {change}."
    if verdict.what == over_optimisation.CLOSER:
        return f"The curves converge: the score's promise and the votes of {group} are closer, by {change}."
    if verdict.what == over_optimisation.TOGETHER:
        return f"The curves stay together: their gap has changed by {change}."
    return (
        f"There are too few votes to see whether the curves diverge: their gap has changed by {change}. About "
        f"{verdict.more} more would show a difference of {percent(over_optimisation.DETECTABLE)}."
    )


def _points_of(mean: Mean) -> str:
    value, lower, upper = (f"{100 * x:+.0f}".replace("-", "−") for x in (mean.value, mean.lower, mean.upper))
    return f"{value} points [{lower}, {upper}]"


def _share(rate: WinRate) -> str:
    return f"{percent(rate.value)} [{100 * rate.lower:.0f}, {100 * rate.upper:.0f}]"


@dataclass(frozen=True)
class Row:
    """A line of the table behind the picture."""

    group: str
    steps: str
    votes: int
    expected: str
    observed: str


def _rows(sides: Sequence[Judges]) -> list[Row]:
    rows = []
    for side in sides:
        for one in side.bins:
            steps = str(one.first) if one.first == one.last else f"{one.first}–{one.last}"
            rows.append(Row(side.group, steps, one.people.n, percent(one.expected), _share(one.people)))
        if side.arena is not None:
            rows.append(Row(side.group, "arena", side.arena.n, "–", _share(side.arena)))
    return rows
