"""What the page and the API show of rounds: plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from common.charts.scene import Svg
from evaluation.core.absent_models import Lack, in_words
from evaluation.models import Round, RoundReview, RoundSeries
from evaluation.rounds import round_judging, round_votes, stop_rules
from evaluation.rounds.ordered_runs import seconds_by_round
from evaluation.rounds.round_pictures import accuracy_line, rating_line
from evaluation.rounds.round_progress import rounds_of
from evaluation.rounds.round_votes import RoundRating, VotesSoFar
from evaluation.rounds.round_words import failure_of, sentence, what_is_missing, where
from evaluation.rounds.stop_rules import Gain


@dataclass(frozen=True)
class RoundRow:
    """One round with what is known of it. `accuracy` is that of the reward model before, on this round's comparisons,
    before one was fitted on them; `seconds` are of the clock, all its runs; `gain` is over the one before."""

    one: Round
    state: str
    judged: int
    votes: int
    seconds: float
    rating: RoundRating | None
    gain: Gain | None
    accuracy: dict[str, Any]
    reviews: list[RoundReview]


@dataclass(frozen=True)
class Shown:
    """Everything of the page. `lacks` are what keeps votes or comparisons away that the rounds wait for."""

    series: RoundSeries
    sentence: str
    lacks: list[Lack]
    rows: list[RoundRow]
    rating_picture: Svg | None
    accuracy_picture: Svg | None
    seconds: float

    @property
    def reviewable(self) -> Round | None:
        """Return the newest round that has a model."""
        made = [row.one for row in self.rows if row.one.number and row.one.model is not None]
        return made[-1] if made else None


def shown(series: RoundSeries) -> Shown:
    every = list(rounds_of(series).select_related("reward_run__output_model"))
    votes, seconds = round_votes.votes_so_far(series, every), seconds_by_round(series)
    rows = _rows(series, every, votes, seconds)
    last = rows[-1] if rows and rows[-1].one.number else None
    return Shown(
        series=series,
        sentence=sentence(series, last.one if last else None, last.judged if last else 0, last.votes if last else 0),
        lacks=what_is_missing(series, last.one) if last else [],
        rows=rows,
        rating_picture=rating_line(
            [
                (float(one.number), one.value, one.lower, one.upper)
                for one in votes.ratings
                if one.lower is not None and one.upper is not None
            ]
        ),
        accuracy_picture=accuracy_line([(one.number, one.accuracy) for one in every if one.accuracy]),
        seconds=sum(seconds.values()),
    )


def _rows(
    series: RoundSeries, every: Sequence[Round], votes: VotesSoFar, seconds: Mapping[int, float]
) -> list[RoundRow]:
    reviews: dict[int, list[RoundReview]] = {}
    for review in RoundReview.objects.filter(round__series=series).select_related("by", "round"):
        reviews.setdefault(review.round_id, []).append(review)
    judged = round_judging.winners_by_round(series, every)
    ratings = {one.number: one for one in votes.ratings}
    rows = []
    for one in every:
        counts = judged.get(one.number, 0), votes.counts.get(one.number, 0)
        rows.append(
            RoundRow(
                one=one,
                state=where(series, one, *counts) if one.number else failure_of(one),
                judged=counts[0],
                votes=counts[1],
                seconds=seconds.get(one.number, 0.0),
                rating=ratings.get(one.number),
                gain=stop_rules.from_json(one.gain) if one.gain else None,
                accuracy=one.accuracy if one.accuracy.get("value") is not None else {},
                reviews=reviews.get(one.pk, []),
            )
        )
    return rows


def as_json(shown_: Shown) -> dict[str, Any]:
    """Return rounds as the API tells them."""
    series = shown_.series
    return {
        "id": series.pk,
        "project": series.project.slug,
        "name": series.name,
        "state": series.state,
        "reason": series.reason,
        "sentence": in_words(shown_.lacks, shown_.sentence),
        "plan": series.plan,
        "plan_hash": series.plan_hash,
        "parent": series.parent_id,
        "seconds": shown_.seconds,
        "created_at": series.created_at,
        "stopped_at": series.stopped_at,
        "rounds": [_row_json(row) for row in shown_.rows],
    }


def _row_json(row: RoundRow) -> dict[str, Any]:
    one = row.one
    return {
        "number": one.number,
        "state": row.state,
        "policy": one.policy_id,
        "model": one.model_id,
        "reward_model": one.reward_run.output_model_id if one.reward_run is not None else None,
        "judgements": row.judged,
        "needed": one.needed,
        "votes": row.votes,
        "seconds": row.seconds,
        "dataset": one.dataset_id,
        "rating": asdict(row.rating) if row.rating else None,
        "gain": asdict(row.gain) if row.gain else None,
        "accuracy": row.accuracy or None,
        "problem": one.problem,
        "runs": [run.pk for run in one.runs],
        "reviews": [{"opinion": review.opinion, "note": review.note} for review in row.reviews],
    }
