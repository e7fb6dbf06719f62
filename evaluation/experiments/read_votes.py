"""Choose the votes that an experiment, or rounds, are about: on answers that its models gave as the plan says. Choose
those that figures of all votes are computed from: of many not each new one, for a fit takes long. And say by a mark
whether any have changed, which reads none of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Max, Q, QuerySet, Sum

from annotate.models import Dataset, Project
from annotate.models.prompts import ARENA, JUDGED_HERE
from common.sampling import BOUNDS
from evaluation.leaderboard.votes.counts import counts_of
from evaluation.models import ArmModel, Experiment, RoundSeries
from training.models import Run

EACH = 5_000  # votes; beyond it figures follow by hundreds, then by thousands


@dataclass(frozen=True)
class ReadVotes:
    """The first votes, as many as are read. `state` changes when they do, also where one is excluded and another counts
    again: their numbers have another sum. `last` is the last vote of all, 0 without any."""

    votes: QuerySet
    state: str
    last: int


def mark_of(project: Project, judge: str) -> str:
    """Return what is another with each vote on models that comes, counts no more or counts again; "" before the first.
    Ask for it before the votes: what is kept under it is then never older than it says."""
    counts = counts_of(project, judge)
    return counts.state if counts is not None else ""


def between(experiment: Experiment, models: Sequence[int | None], votes: QuerySet) -> QuerySet:
    """Return those of the votes that were given between these models since they entered together, on answers that
    they gave: written in the arena, or drawn by a run as the plan says, to what it asks. An answer that somebody
    brings in a model's name, or draws of it in another way, moves no verdict. A verdict of earlier versions counted
    votes on all answers, and keeps its rule."""
    votes = _met(experiment, models, votes)
    if _counted_all(experiment):
        return votes
    return votes.filter(_on_planned_answers(experiment, models), source__in=JUDGED_HERE)


def elsewhere(experiment: Experiment, models: Sequence[int | None], votes: QuerySet) -> QuerySet:
    """Return those of the votes that were given here between these models since then, and do not count: on other
    answers."""
    votes = _met(experiment, models, votes).filter(source__in=JUDGED_HERE)
    return votes.none() if _counted_all(experiment) else votes.exclude(_on_planned_answers(experiment, models))


def _met(experiment: Experiment, models: Sequence[int | None], votes: QuerySet) -> QuerySet:
    between_them = {"completion_a__model__in": models, "completion_b__model__in": models}
    return votes.filter(created_at__gte=experiment.entered_at, **between_them)


def _counted_all(experiment: Experiment) -> bool:
    return bool(experiment.verdict) and "left_out" not in experiment.verdict


def _on_planned_answers(experiment: Experiment, models: Sequence[int | None]) -> Q:
    return on_answers(experiment.questions, _drawing(experiment, models))


def on_answers(questions: Dataset | None, runs: Sequence[int]) -> Q:
    """Return the condition of votes on answers that were written in the arena, or drawn by these runs to these
    questions."""
    asked = Q(prompt__in=questions.prompts.values("pk")) if questions else Q()
    drawn = Run.completions.through.objects.filter(run__in=runs)
    planned = Q()
    for side in ("completion_a", "completion_b"):
        is_drawn = asked & Q(**{f"{side}__in": drawn.values("completion")})
        planned &= Q(**{f"{side}__source": ARENA}) | is_drawn
    return planned


def _drawing(experiment: Experiment, models: Sequence[int | None]) -> list[int]:
    own = ArmModel.objects.filter(arm__experiment=experiment).exclude(answers_run=None)
    return drawn_alike(experiment, models, own.values("answers_run"))


def drawn_alike(order: Experiment | RoundSeries, models: Sequence[int | None], own: QuerySet) -> list[int]:
    """Return the runs that drew answers of these models as the plan says: an order's own, and others with the same
    settings."""
    runs = Run.objects.filter(pk__in=own)
    found = set(runs.values_list("pk", flat=True))
    if settings := order.plan.get("answers") or _settings_of(runs):
        others = Run.objects.filter(project=order.project, kind="sample", parent__in=models)
        found |= {pk for pk, config in others.values_list("pk", "config") if settings.items() <= config.items()}
    return sorted(found)


def _settings_of(own: QuerySet[Run]) -> dict[str, Any]:
    """Return how the models answer of which an older plan does not say it: as the first that answered."""
    config = own.filter(kind="sample").order_by("pk").values_list("config", flat=True).first()
    return {name: config[name] for name in (*BOUNDS, "system_prompt") if name in config} if config else {}


def read_votes(votes: QuerySet) -> ReadVotes:
    """Return the first of these votes, in the order of their numbers."""
    found = votes.order_by().aggregate(count=Count("id"), last=Max("id"), sum=Sum("id"))
    count, last = found["count"], found["last"] or 0
    if not (left := count - count_read(count)):
        return ReadVotes(votes, f"{count} {last} {found['sum']}", last)
    newest = (
        votes.filter(id__lte=last).order_by("-id").values_list("id", flat=True)
    )  # few: the first are not read again
    *later, upto = newest[: left + 1]
    return ReadVotes(votes.filter(id__lte=upto), f"{count - left} {upto} {found['sum'] - sum(later)}", last)


def count_read(count: int) -> int:
    """Return how many of so many votes are read."""
    return count if count <= EACH else count - count % 10 ** (len(str(count)) - 2)
