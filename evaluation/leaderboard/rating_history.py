"""Compute the leaderboard at any past moment, and ratings over time, from the ledger.

A vote that was taken back today was counted yesterday, and is shown so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import numpy as np
from django.core.cache import cache
from django.db.models import Count, Exists, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from annotate.models import LanguageModel, Project, Status, StatusChange
from evaluation.core.recent_values import Recent
from evaluation.leaderboard.published import published, tally_of
from evaluation.leaderboard.rating_intervals import EXACT, Spread, spread_of, widened
from evaluation.leaderboard.snapshots import current
from evaluation.leaderboard.votes import ledger
from evaluation.leaderboard.votes.counts import counts_of
from evaluation.leaderboard.votes.vote_blocks import SIZE, blocks, comparisons, counted
from evaluation.models import Leaderboard
from evaluation.ratings import LABELS, Fit, Tally, tally_totals
from evaluation.ratings.incremental_fit import Live, begin, move

_SETTLED = timedelta(minutes=5)  # after which nothing more is written about a moment
_recent = Recent(32)
_CODE = {label: code for code, label in enumerate(LABELS)}
_STEPS = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, *(86400 * n for n in (1, 2, 7, 14, 30, 91, 365)))


@dataclass(frozen=True)
class History:
    """Ratings over time: `rating`, `lower`, `upper` (moments, models); NaN where a model was not rated yet.

    Intervals are by votes, widened as the voters of today make them (evaluation/leaderboard/rating_intervals.py).
    A model that was not joined to the largest group at a moment has no rating then that could be set beside others'.
    """

    moments: tuple[datetime, ...]
    models: tuple[int, ...]
    rating: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    votes: np.ndarray  # (moments,)


_Snapshot = tuple[int, dict[int, tuple[float, float]]]  # votes, and of each model rating and error by votes


@dataclass(frozen=True)
class _Counts:
    """The counts at a moment; before the first moment they are empty."""

    at: datetime | None = None
    models: tuple[int, ...] = ()
    cells: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, len(LABELS))))


class _Stream:
    """Votes that begin or cease to count, in the order of time: rows of (time, A, B, label, +1 or −1)."""

    def __init__(self, blocks: Iterator[np.ndarray]) -> None:
        self._blocks = blocks
        self._held: np.ndarray | None = next(blocks, None)

    def until(self, at: float) -> Iterator[np.ndarray]:
        """Yield what has not been read yet, up to the moment."""
        while self._held is not None:
            cut = int(np.searchsorted(self._held[:, 0], at, side="right"))
            yield self._held[:cut, 1:].astype(np.int64)
            if cut < len(self._held):
                self._held = self._held[cut:]
                return
            self._held = next(self._blocks, None)


def board_at(
    *, project: Project, judge: str, at: datetime, category: str | None = None, language: str | None = None
) -> Leaderboard:
    """Return the leaderboard as it was at `at`. Never stored: it is made again from what was stored then.

    Raises ValueError on a moment that is still to come.
    """
    now = timezone.now()
    if at > now:
        raise ValueError(f"{at:%Y-%m-%d %H:%M} UTC is in the future; choose a time in the past.")
    key = (project.pk, judge, at, category, language)
    newest = counts_of(project, judge)
    state = "settled" if now - at > _SETTLED else newest.state if newest else ""
    board = _recent.get(key, state)
    if board is None:
        board = _board_at(project, judge, at, category or None, language or None)
        _recent.put(key, state, board)
    return board


def history(project: Project, judge: str, points: int = 60) -> History | None:
    """Return ratings at up to `points` evenly spaced moments since the first vote and now; None without votes.

    One pass over the ledger in the order of time, with one table of counts. Moments lie on round times, so that what
    was computed stays true until the next of them has passed; only the last, which is now, always follows the votes.
    """
    board = current(project=project, judge=judge)
    if not board.votes:
        return None
    moments = _grid(project, judge, points)
    snapshots_by_moment = _read_on(project, judge, moments)
    now = begin(tally_of(board)).fit
    snapshots = [*(snapshots_by_moment[moment] for moment in moments), _snapshot(now)]
    return _laid_out([*moments, timezone.now()], snapshots, board.ratings.spread)


def _read_on(project: Project, judge: str, moments: list[datetime]) -> dict[datetime, _Snapshot | None]:
    """Return snapshots of at least these moments. The ledger is read on from the last moment that is known."""
    key = f"rating-history:{project.pk}:{judge}"
    snapshots_by_moment: dict[datetime, _Snapshot | None]
    snapshots_by_moment, last = cache.get(key) or ({}, _Counts())
    new = [moment for moment in moments if moment not in snapshots_by_moment]
    if not new:
        return snapshots_by_moment
    if last.at is not None and new[0] < last.at:  # finer or other moments than before: from the beginning
        snapshots_by_moment, last, new = {}, _Counts(), moments
    fits = _fits(project, judge, new, last)
    for moment, (counted_then, fitted) in zip(new, fits, strict=True):
        snapshots_by_moment[moment], last = _snapshot(fitted), counted_then
    cache.set(key, (snapshots_by_moment, last), timeout=86400)
    return snapshots_by_moment


def _board_at(project: Project, judge: str, at: datetime, category: str | None, language: str | None) -> Leaderboard:
    columns = ("completion_a__model", "completion_b__model", "winner")
    rows = counted(project, judge, category=category, language=language, until=at).values_list(*columns)
    totals = list(rows.annotate(n=Count("id")).order_by(*columns))
    tally = _sorted(tally_totals(totals))
    fitted = begin(tally).fit if totals else None
    spread: Spread | None = None
    if fitted and tally.votes <= EXACT:
        vote_blocks = blocks(project, judge, models=tally.models, category=category, language=language, until=at)
        fitted, spread = spread_of(fitted, vote_blocks, tally.votes, 0)
    part_name = f"category {category}" if category else f"language {language}" if language else ""
    fields = published(fitted, tally, spread, part=part_name, judge=judge)
    fields["signature"] += f"; as of {at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    last = counted(project, judge, until=at).order_by("-id").values_list("id", flat=True).first() if totals else 0
    return Leaderboard(
        project=project, judge=judge, votes=tally.votes, last_comparison_id=last or 0, created_at=at, **fields
    )


def _sorted(tally: Tally) -> Tally:
    """Return the tally with models in the order of their ids, as in the counts: so that equal groups have the same
    numbers."""
    order = sorted(range(len(tally.models)), key=lambda i: tally.models[i])
    return Tally(tuple(tally.models[i] for i in order), tally.cells[np.ix_(order, order)])


def _grid(project: Project, judge: str, points: int) -> list[datetime]:
    """Return round moments after the first vote, the last of them so long ago that nothing more is written about it."""
    first = comparisons(project, judge).order_by("id").values_list("created_at", flat=True)[0]
    start, end = first.timestamp(), (timezone.now() - _SETTLED).timestamp()
    step = next((step for step in _STEPS if (end - start) / step <= points), _STEPS[-1])
    return [
        datetime.fromtimestamp(step * k, UTC) for k in range(math.floor(start / step) + 1, math.floor(end / step) + 1)
    ]


def _fits(
    project: Project, judge: str, moments: Sequence[datetime], counted: _Counts
) -> Iterator[tuple[_Counts, Fit | None]]:
    """Yield the counts and their fit at each moment, each computed from the one before."""
    models, cells, live = list(counted.models), counted.cells, None
    streams = [_Stream(_votes(project, judge, counted.at)), _Stream(_changes(project, judge, counted.at))]
    for moment in moments:
        for rows in (rows for stream in streams for rows in stream.until(moment.timestamp())):
            models, cells = _added(models, cells, rows)
        live = _fitted(models, cells, live)
        yield _Counts(moment, tuple(models), cells.copy()), live.fit if live else None


def _added(models: list[int], cells: np.ndarray, rows: np.ndarray) -> tuple[list[int], np.ndarray]:
    all_models = sorted(set(models).union(np.unique(rows[:, :2]).tolist()))
    if all_models != models:
        grown = np.zeros((len(all_models), len(all_models), len(LABELS)))
        old = np.searchsorted(all_models, models) if models else np.zeros(0, dtype=np.int64)
        grown[np.ix_(old, old)] = cells
        cells = grown
    a, b = np.searchsorted(all_models, rows[:, 0]), np.searchsorted(all_models, rows[:, 1])
    np.add.at(cells, (a, b, rows[:, 2]), rows[:, 3])
    return all_models, cells


def _fitted(models: list[int], cells: np.ndarray, live: Live | None) -> Live | None:
    indices = np.flatnonzero(cells.sum(axis=(1, 2)) + cells.sum(axis=(0, 2)))
    if not len(indices):
        return None
    tally = Tally(tuple(models[i] for i in indices), cells[np.ix_(indices, indices)])
    return move(live, tally.cells) if live and live.tally.models == tally.models else begin(tally)


def _votes(project: Project, judge: str, since: datetime | None) -> Iterator[np.ndarray]:
    """Yield the votes that counted when they were given."""
    changes = StatusChange.objects.filter(kind=ledger.COMPARISON, feedback_id=OuterRef("pk")).order_by("id")
    rows = comparisons(project, judge).annotate(first=Coalesce(Subquery(changes.values("before")[:1]), "status"))
    columns = ("created_at", "completion_a__model", "completion_b__model", "winner")
    rows = (
        rows.filter(first=Status.COUNTED) if since is None else rows.filter(first=Status.COUNTED, created_at__gt=since)
    )
    votes = rows.order_by("created_at", "id").values_list(*columns).iterator(SIZE)
    while chunk := list(islice(votes, SIZE)):
        yield np.array([(at.timestamp(), a, b, _CODE[winner], 1) for at, a, b, winner in chunk])


def _changes(project: Project, judge: str, since: datetime | None) -> Iterator[np.ndarray]:
    is_comparison = Exists(comparisons(project, judge).filter(pk=OuterRef("feedback_id")))
    rows = StatusChange.objects.filter(is_comparison, kind=ledger.COMPARISON)
    rows = rows if since is None else rows.filter(created_at__gt=since)
    columns = rows.order_by("created_at", "id").values_list("created_at", "feedback_id", "before", "after")
    changes = columns.iterator(SIZE)
    while chunk := list(islice(changes, SIZE)):
        votes = {vote.id: vote for vote in ledger.votes_of(sorted({row[1] for row in chunk}))}
        events = []
        for at, pk, before, after in chunk:
            vote, weight = votes[pk], (after == Status.COUNTED) - (before == Status.COUNTED)
            if weight and vote.a and vote.b:
                events.append((at.timestamp(), vote.a, vote.b, _CODE[vote.winner], weight))
        if events:
            yield np.array(events)


def _snapshot(fitted: Fit | None) -> _Snapshot | None:
    if fitted is None:
        return None
    rows = zip(fitted.models, fitted.rating.tolist(), fitted.standard_error.tolist(), fitted.group, strict=True)
    return fitted.tally.votes, {model: (rating, error) for model, rating, error, group in rows if group == 0}


def _laid_out(moments: list[datetime], snapshots: list[_Snapshot | None], spread: Spread | None) -> History:
    models = sorted({model for snapshot in snapshots if snapshot for model in snapshot[1]})
    values, votes = np.full((len(moments), len(models), 2), np.nan), np.zeros(len(moments), dtype=np.int64)
    for row, snapshot in enumerate(snapshots):
        if snapshot:
            votes[row] = snapshot[0]
            values[row] = [snapshot[1].get(model, (np.nan, np.nan)) for model in models]
    factor, critical = widened(spread, models)
    rating, half = values[:, :, 0], critical * factor * values[:, :, 1]
    return History(tuple(moments), tuple(models), rating, rating - half, rating + half, votes)


def flat_history(rating_history: History, models: dict[int, LanguageModel]) -> list[dict[str, Any]]:
    """Return one row for each moment and model that had a rating then."""
    return [
        {
            "moment": moment.isoformat(timespec="seconds"),
            "votes": int(rating_history.votes[k]),
            "model": models[pk].name,
            **{name: round(float(getattr(rating_history, name)[k, i]), 2) for name in ("rating", "lower", "upper")},
        }
        for k, moment in enumerate(rating_history.moments)
        for i, pk in enumerate(rating_history.models)
        if math.isfinite(rating_history.rating[k, i])
    ]
