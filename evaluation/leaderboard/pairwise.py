"""Compare two models under a project's rule: the difference in rating points with its interval.

Either by the confidence sequence of the pair's own votes, which may be read after every vote, or by the leaderboard's
fit, whose interval is honest when it is read once. Votes between models are read from the leaderboard's counts; where
the rule takes each voter's first vote on a pair alone, from the votes themselves.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from django.db.models import Case, Count, Min, Q, Value, When

from annotate.models import LanguageModel, Project, Winner
from evaluation.leaderboard.snapshots import current, fit_of, tally_of, votes
from evaluation.models import Leaderboard, PromotionRule
from evaluation.ratings import Fit
from evaluation.ratings.confidence_sequence import lower_bound, points

POINTS = {Winner.MODEL_A: 1.0, Winner.MODEL_B: 0.0, Winner.TIE: 0.5, Winner.BOTH_BAD: 0.5}
ONE_SIDED = 0.025  # each end of an interval that holds with 95 %


@dataclass(frozen=True)
class PairDifference:
    """Hold one model's rating minus another's. Bounds are ±inf where the votes set none.

    `more` is the leaderboard's number, and means the same wherever it stands: about so many more votes between the two
    until the leaderboard's interval of their difference leaves 0 out. 0 where it does already, None where no number of
    votes would, or where the model is not ahead by more than the margin.
    """

    difference: float
    lower: float
    upper: float
    votes: int  # between the two
    more: int | None
    unbounded: str = ""  # why the votes set no bounds, and what would

    def finite(self) -> dict[str, float | int | None]:
        """Return the numbers for JSON, which knows no infinity."""
        return {
            "difference": _finite(self.difference),
            "lower": _finite(self.lower),
            "upper": _finite(self.upper),
            "votes": self.votes,
            "more": self.more,
        }


def pair_difference(
    project: Project, rule: PromotionRule, model: LanguageModel, other: LanguageModel
) -> PairDifference | None:
    """Return the difference of two models; None without a vote between them or, by the fit, without a chain of
    votes."""
    return _by_sequence(project, rule, model, other) if rule.always_valid else _by_fit(project, rule, model, other)


def counts(project: Project, rule: PromotionRule, model: LanguageModel, other: LanguageModel) -> tuple[int, int, int]:
    """Return (wins, ties, losses) of a model against another, counted as the rule says."""
    if rule.first_votes_only:
        return _first_votes(project, rule.judge, model.pk, other.pk)
    return _all_votes(current(project=project, judge=rule.judge), model.pk, other.pk)


def _by_sequence(
    project: Project, rule: PromotionRule, model: LanguageModel, other: LanguageModel
) -> PairDifference | None:
    wins, ties, losses = counts(project, rule, model, other)
    played = wins + ties + losses
    if not played:
        return None
    low = float(points(lower_bound(np.array(wins), np.array(ties), np.array(losses), ONE_SIDED)))
    high = -float(points(lower_bound(np.array(losses), np.array(ties), np.array(wins), ONE_SIDED)))
    difference = float(points(np.array((wins + ties / 2) / played)))
    fitted = fit_of(current(project=project, judge=rule.judge)) if difference > rule.margin else None
    return PairDifference(difference, low, high, played, _more_votes(fitted, model.pk, other.pk))


def _more_votes(fitted: Fit | None, model: int, other: int) -> int | None:
    if fitted is None or model not in fitted.models or other not in fitted.models:
        return None
    return fitted.more_votes(fitted.models.index(model), fitted.models.index(other))


def _by_fit(project: Project, rule: PromotionRule, model: LanguageModel, other: LanguageModel) -> PairDifference | None:
    board = current(project=project, judge=rule.judge)
    fitted = fit_of(board)
    if fitted is None or model.pk not in fitted.models or other.pk not in fitted.models:
        return None
    i, j = fitted.models.index(model.pk), fitted.models.index(other.pk)
    difference = fitted.difference(i, j)
    if difference is None:
        return None
    cast = sum(_all_votes(board, model.pk, other.pk))
    if reason := why_unbounded(board):
        return PairDifference(difference.value, -math.inf, math.inf, cast, None, reason)
    more = fitted.more_votes(i, j) if difference.value > rule.margin else None
    return PairDifference(difference.value, difference.lower, difference.upper, cast, more)


def why_unbounded(board: Leaderboard) -> str:
    """Return why the board's intervals say nothing of other voters' votes; empty when they do."""
    intervals = board.ratings.get("intervals", {})
    if intervals.get("by") == "few":
        return "Votes of other voters: nearly all are from one voter, so they do not show how others would vote."
    if not intervals.get("is_read", True):
        return "Wait a moment: the voters are being read."
    return ""


def _all_votes(board: Leaderboard, model: int, other: int) -> tuple[int, int, int]:
    if not board.votes:
        return 0, 0, 0
    tally = tally_of(board)
    if model not in tally.models or other not in tally.models:
        return 0, 0, 0
    i, j = tally.models.index(model), tally.models.index(other)
    return int(tally.wins[i, j]), int(tally.ties[i, j]), int(tally.wins[j, i])


def _first_votes(project: Project, judge: str, model: int, other: int) -> tuple[int, int, int]:
    """Return (wins, ties, losses) by each voter's first vote on the pair, summed by the database."""
    as_a = Q(completion_a__model=model, completion_b__model=other)
    as_b = Q(completion_a__model=other, completion_b__model=model)
    of_pair = votes(project, judge).filter(as_a | as_b).order_by()
    visitor = Case(When(author=None, then="visitor"), default=Value(""))  # who has an account is told by that alone
    firsts = of_pair.annotate(unknown=visitor).values("author", "unknown").annotate(first=Min("pk")).values("first")
    response = of_pair.filter(pk__in=firsts).values_list("completion_a__model", "winner").annotate(n=Count("pk"))
    counts: Counter[float] = Counter()
    for a, winner, n in response:
        points = POINTS[Winner(winner)]
        counts[points if a == model else 1 - points] += n
    return counts[1.0], counts[0.5], counts[0.0]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
