"""What blind votes say of rounds: the gain of each over the one before, and all models on one line of ratings."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Count, Q, QuerySet

from annotate.models import Status
from annotate.models.prompts import JUDGED_HERE
from evaluation.core.recent_values import Recent
from evaluation.experiments.experiment_results import vote_arrays, vote_rows
from evaluation.experiments.read_votes import drawn_alike, mark_of, on_answers, read_votes
from evaluation.leaderboard.votes.vote_blocks import comparisons, counted
from evaluation.models import Round, RoundSeries
from evaluation.rounds.stop_rules import Gain
from evaluation.rounds.vote_fits import fitted, gain_from

_recent = Recent(32)
_recent_fits = Recent(32)


@dataclass(frozen=True)
class RoundRating:
    """A round's model in points over the first, with its 95 % interval over votes; its ends are None where the votes
    allow none (nearly all are one person's)."""

    number: int
    value: float
    lower: float | None
    upper: float | None
    votes: int


@dataclass(frozen=True)
class VotesSoFar:
    """What the votes say of rounds: `ratings` of those whose models have met, and by a round's number how many votes
    there are between its model and the one before."""

    ratings: list[RoundRating]
    counts: dict[int, int]


def votes_so_far(series: RoundSeries, rounds: Sequence[Round]) -> VotesSoFar:
    """Return what the votes say, found again when a vote on the project's models comes or changes, or a model
    enters."""
    mark = mark_of(series.project, series.plan["judge"])
    entered = [(one.number, one.model_id, one.entered_at) for one in rounds]
    key, state = (series.pk, series.plan_hash), f"{mark} {entered}"
    if (kept := _recent.get(key, state)) is None:
        kept = VotesSoFar(_ratings(series, rounds), _votes_by_round(series, rounds))
        _recent.put(key, state, kept)
    return kept


def votes_between(series: RoundSeries, one: Round, before: Round) -> QuerySet:
    """Return the counted votes between a round's model and the one before since they met, the first first."""
    return _between(series, one, before, counted(series.project, series.plan["judge"]))


def _between(series: RoundSeries, one: Round, before: Round, votes: QuerySet) -> QuerySet:
    ids = [one.model_id, before.model_id]
    rows = votes.filter(created_at__gte=one.entered_at, completion_a__model__in=ids, completion_b__model__in=ids)
    return _as_planned(series, ids, rows).order_by("id")


def _as_planned(series: RoundSeries, models: Sequence[int | None], votes: QuerySet) -> QuerySet:
    """Return those of the votes that were given here, on answers that these models gave as the plan says."""
    own = series.rounds.exclude(eval_run=None).values("eval_run")
    planned = on_answers(series.questions, drawn_alike(series, models, own))
    return votes.filter(planned, source__in=JUDGED_HERE)


def _votes_by_round(series: RoundSeries, rounds: Sequence[Round]) -> dict[int, int]:
    """Return how many counted votes there are between each round's model and the one before since they met, by its
    number."""
    model_by_number = {one.number: one.model_id for one in rounds}
    number_by_pair: dict[frozenset[int | None], int] = {}
    asked = Q()
    for one in rounds:
        if one.number and one.entered_at is not None:
            ids = [one.model_id, model_by_number[one.number - 1]]
            number_by_pair[frozenset(ids)] = one.number
            asked |= Q(created_at__gte=one.entered_at, completion_a__model__in=ids, completion_b__model__in=ids)
    if not asked:
        return {}
    every = list(model_by_number.values())
    rows = _as_planned(series, every, counted(series.project, series.plan["judge"]).filter(asked)).order_by()
    found: dict[int, int] = defaultdict(int)
    for a, b, count in rows.values_list("completion_a__model", "completion_b__model").annotate(Count("pk")):
        found[number_by_pair[frozenset((a, b))]] += count
    return found


def gain_of(series: RoundSeries, one: Round, before: Round) -> Gain | None:
    """Return the gain by the first votes that the plan asks for; None while there are fewer, or none can be told."""
    needed = series.plan["votes"]
    votes = votes_between(series, one, before)[:needed]
    rows = vote_rows(votes)
    if len(rows) < needed:
        return None
    gain = gain_from(vote_arrays(rows, [before.model_id, one.model_id]))
    last = max(votes.values_list("pk", flat=True))
    others = comparisons(series.project, series.plan["judge"]).exclude(status=Status.COUNTED).filter(pk__lte=last)
    return gain and replace(gain, left_out=_between(series, one, before, others).count())


def _ratings(series: RoundSeries, rounds: Sequence[Round]) -> list[RoundRating]:
    """Return the models that have met, each in points over the first, by the votes between them since."""
    met = [one for one in rounds if one.entered_at is not None]
    if len(met) < 2:
        return []
    ids = [one.model_id for one in met]
    votes = counted(series.project, series.plan["judge"]).filter(created_at__gte=met[1].entered_at)
    votes = votes.filter(completion_a__model__in=ids, completion_b__model__in=ids)
    read = read_votes(_as_planned(series, ids, votes))
    key, state = (series.pk, series.plan_hash), f"{ids} {read.state}"
    if (rated := _recent_fits.get(key, state)) is None:
        rated = _rated(met, vote_rows(read.votes))
        _recent_fits.put(key, state, rated)
    return rated


def _rated(met: Sequence[Round], rows: Sequence[tuple[Any, ...]]) -> list[RoundRating]:
    ids = [one.model_id for one in met]
    found_fit = fitted(ids, vote_arrays(rows, ids)) if rows else None
    if found_fit is None:
        return []
    battles = found_fit.tally.battles
    found = [RoundRating(met[0].number, 0.0, 0.0, 0.0, int(battles[0]))]
    for place, one in enumerate(met[1:], 1):
        difference = found_fit.difference(place, 0)
        if difference is not None:
            lower, upper = (end if math.isfinite(end) else None for end in (difference.lower, difference.upper))
            found.append(RoundRating(one.number, difference.value, lower, upper, int(battles[place])))
    return found
