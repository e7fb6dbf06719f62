"""Rate the same votes in other ways: tie models, without style, by reliability, bootstrap over voters, and Elo.

None of these is the ranking. Where they agree with it, it does not hang on how votes are counted; where they part ways,
the page says what that means.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from django.core.cache import cache

from annotate.models import LanguageModel, Project
from evaluation.core import kept_figures
from evaluation.core.kept_figures import Tell
from evaluation.leaderboard.published import state_of
from evaluation.leaderboard.rating_intervals import spread_of
from evaluation.leaderboard.snapshots import current
from evaluation.leaderboard.votes import answer_styles as styles
from evaluation.leaderboard.votes.vote_blocks import Block, blocks
from evaluation.models import KeptFigures, Leaderboard
from evaluation.ratings import LABELS, Fit, NotConverged, Tally, tally_indices
from evaluation.ratings.bootstrap import intervals
from evaluation.ratings.bradley_terry import CENTRE, fit
from evaluation.ratings.elo import OrderSpread, online, order_spread
from evaluation.ratings.reliability import Reliability, VoterWeights, fit_reliability
from evaluation.ratings.style_control import Coefficient, StyleFit, fit_style
from evaluation.ratings.tie_models import Parameter, TieFit, better_tie_model
from evaluation.ratings.voter_clusters import bootstrap_voters

KEPT_SECONDS = 3600
DRAWS = 200
ORDERS = 10
LARGE = 5_000  # votes: of more the background worker computes them
EASED = 0.01  # of the votes: as long as fewer are new, what was computed stands, and says as of which vote
NO_WIDTH = 1e-6  # rating points
Found = TypeVar("Found")


@dataclass(frozen=True)
class Column:
    """Ratings (M,) with their lower and upper ends, in the order of the models."""

    key: str
    title: str
    rating: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


@dataclass(frozen=True)
class AlternativeRatings:
    """Hold alternative ratings of `votes` votes; `missing` says which could not be computed, and why.

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


_STORED = (
    *(AlternativeRatings, Column, Fit, Tally, TieFit, Parameter, StyleFit, Coefficient, Reliability, VoterWeights),
    OrderSpread,
)


def alternative_ratings_of(project: Project, board: Leaderboard) -> AlternativeRatings | None:
    """Return the alternative ratings; None of an empty board.

    The background worker rates many votes: raises BeingComputed the first time, and returns the older ratings while new
    ones are computed.
    """
    if not board.votes:
        return None
    if board.votes > LARGE:
        what = KeptFigures.What.ALTERNATIVE_RATINGS
        return kept_figures.kept(project, board.judge, what, lambda row: _is_near(row, board), _STORED)
    key = f"counted-otherwise:{project.pk}:{board.judge}"
    cached: AlternativeRatings | None = cache.get(key)
    if cached is None or cached.unread_styles or cached.state != state_of(board):
        cached = _count(project, board)
        cache.set(key, cached, KEPT_SECONDS)
    return cached


def _is_near(row: KeptFigures, board: Leaderboard) -> bool:
    return row.state.isdecimal() and abs(int(row.state) - board.votes) <= EASED * board.votes


def compute_kept(project: Project, judge: str, tell: Tell) -> tuple[str, AlternativeRatings | None]:
    """Return the alternative ratings of many votes for the background worker, and of how many."""
    tell("counting votes", 0.0)
    ratings = _count(project, current(project=project, judge=judge), tell)
    return str(ratings.votes if ratings else 0), ratings


def _count(project: Project, board: Leaderboard, tell: Tell = lambda stage, share: None) -> AlternativeRatings | None:
    tally, votes = _read(project, board.judge, lambda n: tell("reading votes", min(0.3, 0.3 * n / board.votes)))
    if not tally.models:
        return None
    missing: dict[str, str] = {}
    tell("fitting the ranking’s ratings", 0.3)
    fitted = fit(tally)
    plain, spread = spread_of(fitted, votes, tally.votes, board.last_comparison_id)
    tell("fitting ties", 0.4)
    ties = _if_open("Ties", missing, lambda: better_tie_model(tally, blocks=votes))
    tell("fitting without style", 0.5)
    unread = _unread_styles(project, board.judge, is_patient=board.votes > LARGE)
    style = _if_open(
        "Style", missing, lambda: fit_style(tally.models, styles.styled_votes(project, board.judge, tally.models))
    )
    tell("fitting by reliability", 0.65)
    reliability = _if_open("Reliability", missing, lambda: fit_reliability(fitted, votes))
    tell("computing online Elo", 0.75)
    elo, ticker = _elo(project, board, tally.models)
    tell("drawing voters", 0.9)
    columns = [
        _of_fit("plain", "the ranking’s", plain),
        *(_of_fit(alternative.model, alternative.model.title(), alternative.ratings) for alternative in ties or ()),
        *([_of_fit("style", "without style", style.controlled)] if style else ()),
        *([_of_fit("reliability", "by reliability", reliability.weighted)] if reliability else ()),
        _draw_ratings(fitted, votes, spread.effective),
        ticker,
    ]
    return AlternativeRatings(
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


def _read(project: Project, judge: str, tell: Callable[[int], None]) -> tuple[Tally, list[Block]]:
    """Return the votes as they stand now, indexed by model, and their counts.

    A vote may have come since the board was read, and counts and votes must be the same.
    """
    vote_blocks = []
    for block in blocks(project, judge):
        vote_blocks.append(block)
        tell(sum(int(each.times.sum()) for each in vote_blocks))
    models = sorted({int(model) for block in vote_blocks for model in np.union1d(block.a, block.b)})
    cells = np.zeros((len(models), len(models), len(LABELS)))
    votes = []
    for block in vote_blocks:
        a, b = np.searchsorted(models, block.a), np.searchsorted(models, block.b)
        cells += tally_indices(a, b, block.label, len(models), block.times)
        votes.append(block._replace(a=a, b=b))
    return Tally(tuple(models), cells), votes


def _of_fit(key: str, title: str, fitted: Fit) -> Column:
    return Column(key, title, fitted.rating, fitted.lower, fitted.upper)


def _if_open(name: str, missing: dict[str, str], compute: Callable[[], Found]) -> Found | None:
    """Return what `compute` returns; None, with the reason in `missing`, when these votes do not allow it."""
    try:
        return compute()
    except (ValueError, NotConverged) as error:
        missing[name] = str(error)
        return None


def _unread_styles(project: Project, judge: str, is_patient: bool) -> int:
    """Return how many answers have no style counted yet, after counting as many as a page can wait for; all of them
    where nobody waits."""
    styles.count_missing(project, judge, None if is_patient else styles.MOST_AT_A_LOOK)
    return styles.uncounted(project, judge).count()


def _draw_ratings(fitted: Fit, votes: list[Block], effective: float) -> Column:
    """Return percentiles of ratings from a bootstrap over voters: an interval that assumes nothing of the fit's
    covariance.

    Where all draws are alike, as of votes that are all ties, there is none: other voters could still say otherwise.
    """
    ends = intervals(bootstrap_voters(fitted, votes, DRAWS), effective)
    has_width = ends.upper - ends.lower > NO_WIDTH
    lower, upper = (np.where(has_width, end, math.nan) for end in (ends.lower, ends.upper))
    return Column("drawn", "bootstrap over voters", fitted.rating, lower, upper)


def _elo(project: Project, board: Leaderboard, models: tuple[int, ...]) -> tuple[OrderSpread | None, Column]:
    """Return online Elo as it stands, and how far other orders of the same votes would move it."""
    rating, blocks_read = np.full(len(models), CENTRE), []
    for block in blocks(project, board.judge, order="time"):
        is_known = np.isin(block.a, models) & np.isin(block.b, models)  # a newer model's first votes come next time
        a, b, label = (
            np.searchsorted(models, block.a[is_known]),
            np.searchsorted(models, block.b[is_known]),
            block.label[is_known],
        )
        rating = online(a, b, label, rating)
        blocks_read.append((a, b, label))
    if not blocks_read:
        nothing = np.full(len(models), math.nan)
        return None, Column("elo", "online Elo", nothing, nothing, nothing)
    a, b, label = (np.concatenate(column) for column in zip(*blocks_read, strict=True))
    spread = order_spread(a, b, label, len(models), ORDERS)
    return spread, Column("elo", "online Elo", rating, spread.lowest, spread.highest)


def flat_ratings(ratings: AlternativeRatings, models: dict[int, LanguageModel]) -> list[dict[str, Any]]:
    return [
        {
            "model": models[ratings.models[i]].name,
            "connected": i not in ratings.apart,
            "way": column.key,
            **{name: _number(getattr(column, name)[i]) for name in ("rating", "lower", "upper")},
        }
        for i in ratings.order
        for column in ratings.columns
    ]


def _number(value: float) -> float | None:
    return round(float(value), 2) if math.isfinite(value) else None
