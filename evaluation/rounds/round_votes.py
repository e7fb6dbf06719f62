"""What blind votes say of rounds: the gain of each over the one before, and all models on one line of ratings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from django.db.models import QuerySet

from evaluation.experiments.experiment_results import vote_arrays, vote_rows
from evaluation.leaderboard.votes.vote_blocks import counted
from evaluation.models import Round, RoundSeries
from evaluation.ratings import Fit, Tally, fit, tally_indices
from evaluation.ratings.bradley_terry import NotConverged
from evaluation.ratings.voter_clusters import by_voters
from evaluation.rounds.stop_rules import Gain


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
    fitted = _fitted(rows, [before.model_id, one.model_id])
    difference = fitted.difference(1, 0) if fitted is not None else None
    if difference is None:
        return None
    ends = [end if math.isfinite(end) else None for end in (difference.lower, difference.upper)]
    return Gain(len(rows), difference.value, *ends)


def ratings(series: RoundSeries, rounds: Sequence[Round]) -> list[RoundRating]:
    """Return the models that have met, each in points over the first, by all votes between them since."""
    met = [one for one in rounds if one.entered_at is not None]
    if len(met) < 2:
        return []
    ids = [one.model_id for one in met]
    votes = counted(series.project, series.plan["judge"]).filter(created_at__gte=met[1].entered_at)
    rows = vote_rows(votes.filter(completion_a__model__in=ids, completion_b__model__in=ids))
    fitted = _fitted(rows, ids) if rows else None
    if fitted is None:
        return []
    battles = fitted.tally.battles
    found = [RoundRating(met[0].number, 0.0, 0.0, 0.0, int(battles[0]))]
    for place, one in enumerate(met[1:], 1):
        difference = fitted.difference(place, 0)
        if difference is not None:
            ends = (difference.lower, difference.upper)
            found.append(RoundRating(one.number, difference.value, *ends, int(battles[place])))
    return found


def _fitted(rows: Sequence[tuple], models: Sequence[int | None]) -> Fit | None:
    voter, a, b, label = vote_arrays(rows, models)
    tally = Tally(tuple(models), tally_indices(a, b, label, len(models)))
    try:
        return by_voters(fit(tally), [(voter, a, b, label, np.ones(len(voter), dtype=np.int64))])[0]
    except NotConverged:
        return None
