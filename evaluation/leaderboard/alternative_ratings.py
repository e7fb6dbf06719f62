"""The same votes counted otherwise: with ties of their own, without style, by reliability, voters drawn anew, and Elo.

None of these is the ranking. Where they agree with it, it does not hang on how votes are counted; where they part ways,
the page says what that means.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from django.core.cache import cache
from django.db import connections

from annotate.models import LanguageModel, Project
from evaluation.leaderboard.published import state_of
from evaluation.leaderboard.rating_intervals import spread_of
from evaluation.leaderboard.votes import answer_styles as styles
from evaluation.leaderboard.votes.vote_blocks import Block, blocks
from evaluation.models import Leaderboard
from evaluation.ratings import LABELS, Fit, NotConverged, Tally, tally_indices
from evaluation.ratings.bootstrap import intervals
from evaluation.ratings.bradley_terry import CENTRE, fit
from evaluation.ratings.elo import OrderSpread, online, order_spread
from evaluation.ratings.reliability import Reliability, fit_reliability
from evaluation.ratings.style_control import StyleFit, fit_style
from evaluation.ratings.tie_models import TieFit, better_tie_model
from evaluation.ratings.voter_clusters import bootstrap_voters

log = logging.getLogger(__name__)
KEPT_SECONDS = 3600
BEGUN_SECONDS = 1800  # after which a count that nobody hears of is taken for dead
DRAWS = 200
ORDERS = 10
LARGE = 20_000  # votes
EASED = 0.01  # of the votes: as long as fewer are new, what was computed stands, and says as of which vote
NO_WIDTH = 1e-6  # rating points
Found = TypeVar("Found")


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
    """`missing` says which ways were not open, and why. `votes` is how many votes all of this is from.

    `state` tells the board that it was computed for. `is_of_few`: nearly all votes are one voter's, so that the
    ranking's intervals take each by itself and the other ways have none.
    """

    models: tuple[int, ...]
    order: tuple[int, ...]  # places, best first by the ranking's own rating
    apart: frozenset[int]  # places that no votes join to the largest group: their ratings stand beside nobody's
    votes: int
    state: tuple[int, int, int]
    is_of_few: bool
    columns: tuple[Column, ...]
    ties: tuple[TieFit, TieFit] | None
    style: StyleFit | None
    reliability: Reliability | None
    elo: OrderSpread | None
    unread_styles: int = 0
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def is_large(self) -> bool:
        return self.votes > LARGE


class BeingCounted(Exception):
    """Votes are so many that counting takes a minute; it has begun, and what was asked for will be there after it."""


def other_ways(project: Project, board: Leaderboard) -> Ways | None:
    """None of an empty board. Many votes are counted beside the request: raises BeingCounted the first time, and
    gives what was found before while they are counted again."""
    if not board.votes:
        return None
    key = f"counted-otherwise:{project.pk}:{board.judge}"
    kept: Ways | None = cache.get(key)
    if kept is not None and _still_good(kept, board):
        return kept
    if board.votes <= LARGE:
        return _counted(project, board, key)
    if cache.add(f"{key}:begun", True, timeout=BEGUN_SECONDS):
        threading.Thread(target=_count_quietly, args=(project, board, key), name=key, daemon=True).start()
    if kept is None:
        raise BeingCounted
    return kept


def _counted(project: Project, board: Leaderboard, key: str) -> Ways | None:
    ways = _count(project, board)
    cache.set(key, ways, KEPT_SECONDS)
    return ways


def _count_quietly(project: Project, board: Leaderboard, key: str) -> None:
    try:
        _counted(project, board, key)
    except Exception:  # the edge of a thread: the next look tries again
        log.exception("votes could not be counted otherwise")
    finally:
        cache.delete(f"{key}:begun")
        connections.close_all()


def _still_good(kept: Ways, board: Leaderboard) -> bool:
    """Few votes are counted again at once, with the styles that were left to count; of many, whose counting takes a
    minute, only when a hundredth of them is new."""
    if kept.is_large:
        return abs(kept.votes - board.votes) <= EASED * board.votes
    return not kept.unread_styles and kept.state == state_of(board)


def _count(project: Project, board: Leaderboard) -> Ways | None:
    tally, votes = _read(project, board.judge)
    if not tally.models:
        return None
    missing: dict[str, str] = {}
    fitted = fit(tally)
    plain, spread = spread_of(fitted, votes, tally.votes, board.last_comparison_id)
    ties = _if_open("Ties", missing, lambda: better_tie_model(tally, blocks=votes))
    unread = _unread_styles(project, board.judge)
    style = _if_open(
        "Style", missing, lambda: fit_style(tally.models, styles.styled_votes(project, board.judge, tally.models))
    )
    reliability = _if_open("Reliability", missing, lambda: fit_reliability(fitted, votes))
    elo, ticker = _elo(project, board, tally.models)
    columns = [
        _of_fit("plain", "the ranking’s", plain),
        *(_of_fit(way.model, way.model.title(), way.ratings) for way in ties or ()),
        *([_of_fit("style", "without style", style.controlled)] if style else ()),
        *([_of_fit("reliability", "by reliability", reliability.weighted)] if reliability else ()),
        _drawn(fitted, votes, spread.effective),
        ticker,
    ]
    return Ways(
        models=tally.models,
        order=tuple(sorted(range(len(tally.models)), key=lambda i: (fitted.group[i], -fitted.rating[i]))),
        apart=frozenset(np.flatnonzero(fitted.group).tolist()),
        votes=tally.votes,
        state=state_of(board),
        is_of_few=spread.by == "few",
        columns=tuple(columns),
        ties=ties,
        style=style,
        reliability=reliability,
        elo=elo,
        unread_styles=unread,
        missing=missing,
    )


def _read(project: Project, judge: str) -> tuple[Tally, list[Block]]:
    """Return the votes as they stand now, with places in the models, and their counts: a vote may have come since the
    board was read, and counts and votes must be the same."""
    read = list(blocks(project, judge))
    models = sorted({int(model) for block in read for model in np.union1d(block.a, block.b)})
    cells = np.zeros((len(models), len(models), len(LABELS)))
    votes = []
    for block in read:
        a, b = np.searchsorted(models, block.a), np.searchsorted(models, block.b)
        cells += tally_indices(a, b, block.said, len(models), block.times)
        votes.append(block._replace(a=a, b=b))
    return Tally(tuple(models), cells), votes


def _of_fit(key: str, title: str, fitted: Fit) -> Column:
    return Column(key, title, fitted.rating, fitted.lower, fitted.upper)


def _if_open(name: str, missing: dict[str, str], way: Callable[[], Found]) -> Found | None:
    """Return what the way finds; None, and the reason in `missing`, when these votes do not allow it."""
    try:
        return way()
    except (ValueError, NotConverged) as error:
        missing[name] = str(error)
        return None


def _unread_styles(project: Project, judge: str) -> int:
    """Of how many answers the style is still to be counted, after as many as a page can wait for."""
    styles.count_missing(project, judge, styles.MOST_AT_A_LOOK)
    return styles.uncounted(project, judge).count()


def _drawn(fitted: Fit, votes: list[Block], effective: float) -> Column:
    """Percentiles of ratings from voters drawn anew: an interval that assumes nothing of the fit's covariance.

    Where all draws are alike, as of votes that are all ties, there is none: other voters could still say otherwise.
    """
    ends = intervals(bootstrap_voters(fitted, votes, DRAWS), effective)
    has_width = ends.upper - ends.lower > NO_WIDTH
    lower, upper = (np.where(has_width, end, math.nan) for end in (ends.lower, ends.upper))
    return Column("drawn", "voters drawn anew", fitted.rating, lower, upper)


def _elo(project: Project, board: Leaderboard, models: tuple[int, ...]) -> tuple[OrderSpread | None, Column]:
    """Return the ticker as it stands, and how far the same votes in other orders would have put it."""
    rating, seen = np.full(len(models), CENTRE), []
    for block in blocks(project, board.judge, order="time"):
        known = np.isin(block.a, models) & np.isin(block.b, models)  # a newer model's first votes come next time
        a, b, said = np.searchsorted(models, block.a[known]), np.searchsorted(models, block.b[known]), block.said[known]
        rating = online(a, b, said, rating)
        seen.append((a, b, said))
    if not seen:
        nothing = np.full(len(models), math.nan)
        return None, Column("elo", "Elo ticker", nothing, nothing, nothing)
    a, b, said = (np.concatenate(column) for column in zip(*seen, strict=True))
    spread = order_spread(a, b, said, len(models), ORDERS)
    return spread, Column("elo", "Elo ticker", rating, spread.lowest, spread.highest)


def flat_ways(ways: Ways, models: dict[int, LanguageModel]) -> list[dict[str, Any]]:
    return [
        {
            "model": models[ways.models[i]].name,
            "connected": i not in ways.apart,
            "way": column.key,
            **{name: _number(getattr(column, name)[i]) for name in ("rating", "lower", "upper")},
        }
        for i in ways.order
        for column in ways.columns
    ]


def _number(value: float) -> float | None:
    return round(float(value), 2) if math.isfinite(value) else None
