"""What blind votes say of rounds: the gain of each over the one before, and all models on one line of ratings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import QuerySet

from evaluation.experiments.experiment_results import vote_arrays, vote_rows
from evaluation.leaderboard.votes.vote_blocks import counted
from evaluation.models import Round, RoundSeries
from evaluation.rounds.stop_rules import Gain
from evaluation.rounds.vote_fits import fitted, gain_from


@dataclass(frozen=True)
class RoundRating:
    """A round's model in points over the first, with its 95 % interval over votes."""

    number: int
    value: float
    lower: float
    upper: float
    votes: int


def votes_between(series: RoundSeries, one: Round, before: Round) -> QuerySet:
    """Return the counted votes between a round's model and the one before since they met, the first first."""
    ids = [one.model_id, before.model_id]
    rows = counted(series.project, series.plan["judge"]).filter(created_at__gte=one.entered_at)
    return rows.filter(completion_a__model__in=ids, completion_b__model__in=ids).order_by("id")


def gain_of(series: RoundSeries, one: Round, before: Round) -> Gain | None:
    """Return the gain by the first votes that the plan asks for; None while there are fewer, or none can be told."""
    needed = series.plan["votes"]
    rows = vote_rows(votes_between(series, one, before)[:needed])
    if len(rows) < needed:
        return None
    return gain_from(vote_arrays(rows, [before.model_id, one.model_id]))


def ratings(series: RoundSeries, rounds: Sequence[Round]) -> list[RoundRating]:
    """Return the models that have met, each in points over the first, by all votes between them since."""
    met = [one for one in rounds if one.entered_at is not None]
    if len(met) < 2:
        return []
    ids = [one.model_id for one in met]
    votes = counted(series.project, series.plan["judge"]).filter(created_at__gte=met[1].entered_at)
    rows = vote_rows(votes.filter(completion_a__model__in=ids, completion_b__model__in=ids))
    found_fit = fitted(ids, vote_arrays(rows, ids)) if rows else None
    if found_fit is None:
        return []
    battles = found_fit.tally.battles
    found = [RoundRating(met[0].number, 0.0, 0.0, 0.0, int(battles[0]))]
    for place, one in enumerate(met[1:], 1):
        difference = found_fit.difference(place, 0)
        if difference is not None:
            ends = (difference.lower, difference.upper)
            found.append(RoundRating(one.number, difference.value, *ends, int(battles[place])))
    return found
