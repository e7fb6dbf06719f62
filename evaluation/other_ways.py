"""The same votes counted otherwise: with ties of their own, without style, by reliability, voters drawn anew, and Elo.

None of these is the ranking. Where they agree with it, it does not hang on how votes are counted; where they part ways,
the page says what that means.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from django.core.cache import cache

from annotate.models import Project
from evaluation import styles
from evaluation.leaderboard import tally_of
from evaluation.models import Leaderboard
from evaluation.ratings import Fit, NotConverged, fit
from evaluation.ratings.bootstrap import intervals
from evaluation.ratings.clusters import bootstrap_voters, by_voters, score_voters
from evaluation.ratings.elo import OrderSpread, online, order_spread
from evaluation.ratings.fit import CENTRE
from evaluation.ratings.reliability import Reliability, fit_reliability
from evaluation.ratings.style import StyleFit, fit_style
from evaluation.ratings.ties import TieFit, better_tie_model
from evaluation.vote_blocks import blocks

KEPT_SECONDS = 3600
DRAWS = 200
ORDERS = 10
LARGE = 20_000  # votes
EASED = 0.01  # of the votes: as long as fewer are new, what was computed stands, and says as of which vote


@dataclass(frozen=True)
class Column:
    """Ratings (M,) with their ends, in the order of the models; `said` is what a reader should know of them."""

    key: str
    title: str
    rating: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


@dataclass(frozen=True)
class Ways:
    """`missing` says which ways were not open, and why. `votes` is how many votes all of this is from."""

    models: tuple[int, ...]
    order: tuple[int, ...]  # places, best first by the ranking's own rating
    votes: int
    columns: tuple[Column, ...]
    ties: tuple[TieFit, TieFit] | None
    style: StyleFit | None
    reliability: Reliability | None
    elo: OrderSpread | None
    unread_styles: int = 0
    missing: dict[str, str] = field(default_factory=dict)


def other_ways(project: Project, board: Leaderboard) -> Ways | None:
    """None of an empty board."""
    if not board.votes:
        return None
    key = f"other-ways:{project.pk}:{board.judge}"
    kept: Ways | None = cache.get(key)
    if kept is not None and _still_good(kept, board):
        return kept
    found = _count(project, board)
    cache.set(key, found, KEPT_SECONDS)
    return found


def _still_good(kept: Ways, board: Leaderboard) -> bool:
    """Few votes are counted again at once; of many, only when a hundredth of them is new."""
    apart = abs(kept.votes - board.votes)
    return not kept.unread_styles and (apart == 0 or (board.votes > LARGE and apart <= EASED * board.votes))


def _count(project: Project, board: Leaderboard) -> Ways:
    tally, missing = tally_of(board), {}
    fitted = fit(tally)
    votes = list(blocks(project, board.judge, models=tally.models))
    plain, _ = by_voters(fitted, votes)
    columns = [_of_fit("plain", "the ranking's", plain)]
    ties = style = reliability = None
    try:
        ties = better_tie_model(tally, blocks=votes)
        columns += [_of_fit(way.model, way.model.title(), way.ratings) for way in ties]
    except (ValueError, NotConverged) as error:
        missing["Ties"] = str(error)
    unread, style = _style(project, board, tally.models, missing)
    if style is not None:
        columns.append(_of_fit("style", "without style", style.controlled))
    try:
        reliability = fit_reliability(fitted, votes)
        columns.append(_of_fit("reliability", "by reliability", reliability.weighted))
    except (ValueError, NotConverged) as error:
        missing["Reliability"] = str(error)
    columns.append(_drawn(fitted, votes))
    elo, column = _elo(project, board, tally.models)
    columns.append(column)
    order = sorted(range(len(tally.models)), key=lambda i: (fitted.group[i], -fitted.rating[i]))
    return Ways(
        tuple(tally.models), tuple(order), board.votes, tuple(columns), ties, style, reliability, elo, unread, missing
    )


def _of_fit(key: str, title: str, fitted: Fit) -> Column:
    return Column(key, title, fitted.rating, fitted.lower, fitted.upper)


def _style(
    project: Project, board: Leaderboard, models: tuple[int, ...], missing: dict[str, str]
) -> tuple[int, StyleFit | None]:
    styles.count_missing(project, board.judge, styles.MOST_AT_A_LOOK)
    unread = styles.uncounted(project, board.judge).count()
    try:
        return unread, fit_style(models, styles.styled_votes(project, board.judge, models))
    except (ValueError, NotConverged) as error:
        missing["Style"] = str(error)
        return unread, None


def _drawn(fitted: Fit, votes: list) -> Column:
    """Percentiles of ratings from voters drawn anew: an interval that assumes nothing of the fit's covariance."""
    ends = intervals(bootstrap_voters(fitted, votes, DRAWS), score_voters(fitted, votes).effective)
    return Column("drawn", "voters drawn anew", fitted.rating, ends.lower, ends.upper)


def _elo(project: Project, board: Leaderboard, models: tuple[int, ...]) -> tuple[OrderSpread | None, Column]:
    """The ticker as it stands, and how far the same votes in other orders would have put it."""
    rating, seen = np.full(len(models), CENTRE), []
    for block in blocks(project, board.judge, order="time", models=models):
        rating = online(block.a, block.b, block.said, rating)
        seen.append((block.a, block.b, block.said))
    if not seen:
        nothing = np.full(len(models), math.nan)
        return None, Column("elo", "Elo ticker", nothing, nothing, nothing)
    a, b, said = (np.concatenate(column) for column in zip(*seen, strict=True))
    spread = order_spread(a, b, said, len(models), ORDERS)
    return spread, Column("elo", "Elo ticker", rating, spread.lowest, spread.highest)
