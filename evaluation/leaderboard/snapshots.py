"""Compute the leaderboard as the votes stand now, step by step, and store snapshots that others can point at.

Votes are counted comparisons of answers by two different models on eval-split prompts, of people or of simulated
judges, never both. They are counted as the ledger grows (counts.py), so that a page reads none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from django.utils import timezone

from annotate.models import AnnotatorKind, Project
from annotate.models.feedback import FeedbackQuerySet
from evaluation.core.recent_values import Recent
from evaluation.leaderboard.published import fit_of, published, tally_of
from evaluation.leaderboard.rating_intervals import with_intervals
from evaluation.leaderboard.votes import vote_blocks
from evaluation.leaderboard.votes.counts import catch_up, counts_of, parts_of, tally_of_counts
from evaluation.leaderboard.votes.vote_blocks import comparisons
from evaluation.models import Leaderboard, VoteCounts
from evaluation.ratings import LABELS, Tally
from evaluation.ratings.incremental_fit import Live, begin, move

__all__ = [
    "categories",
    "comparisons",
    "current",
    "default_annotator_kind",
    "fit_of",
    "languages",
    "left_out",
    "stored",
    "tally_of",
    "votes",
    "votes_by_kind",
]

SNAPSHOT_EVERY = timedelta(hours=1)
FEW_VOTES = 10  # per model, below which the order is mostly luck
_recent = Recent(64)


@dataclass(frozen=True)
class KindVotes:
    """Hold how many votes of one kind of annotators count, and on how many models."""

    votes: int
    models: int

    @property
    def are_enough(self) -> bool:
        return 0 < FEW_VOTES * self.models <= self.votes


@dataclass(frozen=True)
class _KnownBoard:
    live: Live | None
    board: Leaderboard


def votes(project: Project, judge: str) -> FeedbackQuerySet:
    """Return the comparisons that count."""
    return vote_blocks.counted(project, judge)


def left_out(project: Project, judge: str) -> dict[str, int]:
    """Return how many comparisons do not count, by status."""
    counts = counts_of(project, judge)
    return dict(counts.left_out) if counts else {}


def default_annotator_kind(project: Project) -> str:
    """Return whose votes are enough to rank by, people's first. Where nobody's are, return whose votes there are."""
    kind_votes = votes_by_kind(project)
    kinds = (AnnotatorKind.PERSON, AnnotatorKind.SIMULATION)
    enough = [kind for kind in kinds if kind_votes[kind].are_enough]
    return next(iter(enough or [kind for kind in kinds if kind_votes[kind].votes]), AnnotatorKind.PERSON)


def votes_by_kind(project: Project) -> dict[str, KindVotes]:
    """Return how many votes count, of people and of simulated annotators."""
    catch_up()
    rows = VoteCounts.objects.filter(project=project, part=VoteCounts.Part.ALL)
    counted = {
        judge: KindVotes(votes, len(models)) for judge, votes, models in rows.values_list("judge", "votes", "model_ids")
    }
    return {kind: counted.get(kind, KindVotes(0, 0)) for kind in AnnotatorKind.values}


def current(*, project: Project, judge: str, category: str = "", language: str = "") -> Leaderboard:
    """Return the leaderboard as the votes stand now: of all votes, or of a category's or a language's.

    Stored at most every hour by itself; `stored` keeps one that something is to point at. An empty one never is.
    """
    _check(judge, category, language)
    part = "category" if category else "language" if language else ""
    counts = counts_of(project, judge, part, category or language)
    if counts is None:
        return _empty(project, judge, f"{part} {category or language}".strip())
    if cached := _recent.get(counts.pk, counts.state):
        return cached.board
    counts = VoteCounts.objects.select_related("project").get(pk=counts.pk)  # with the cells of this very state
    previous: _KnownBoard | None = _recent.last(counts.pk)
    cached = _computed(counts, previous.live if previous else None)
    _recent.put(counts.pk, counts.state, cached)
    if not part and _is_time_for_a_snapshot(counts):
        stored(cached.board)
    return cached.board


def stored(board: Leaderboard) -> Leaderboard | None:
    """Return the leaderboard as a row that others can point at, one for each state; None for an empty one.

    Raises ValueError for a part of the votes or a moment of the past: those are computed from the ledger when asked.
    """
    if not board.votes or board.pk:
        return board if board.pk else None
    if not board.state or board.ratings["part"]:
        raise ValueError("only the leaderboard of all votes as it stands now is stored.")
    row = Leaderboard.objects.filter(project=board.project, judge=board.judge, state=board.state).first()
    if row is None:  # another object than the one that pages share: what is saved here may be rolled back
        row = Leaderboard(
            project=board.project,
            judge=board.judge,
            votes=board.votes,
            last_comparison_id=board.last_comparison_id,
            ratings=dict(board.ratings, totals=board.ratings["totals"]),
            signature=board.signature,
            state=board.state,
            created_at=board.created_at,
        )
        row.save()
    return row


def categories(project: Project, judge: str) -> list[VoteCounts]:
    return [row for row in parts_of(project, judge) if row.part == VoteCounts.Part.CATEGORY]


def languages(project: Project, judge: str) -> list[VoteCounts]:
    return [row for row in parts_of(project, judge) if row.part == VoteCounts.Part.LANGUAGE]


def _check(judge: str, category: str, language: str) -> None:
    if judge not in AnnotatorKind.values:
        raise ValueError(f"unknown judge {judge!r}: use one of {', '.join(AnnotatorKind.values)}.")
    if category and language:
        raise ValueError("a leaderboard is of a category or of a language, not of both at once.")


def _empty(project: Project, judge: str, part: str) -> Leaderboard:
    nothing = Tally((), np.zeros((0, 0, len(LABELS))))
    fields = published(None, nothing, None, part=part, judge=judge)
    return Leaderboard(project=project, judge=judge, votes=0, last_comparison_id=0, **fields)


def _computed(counts: VoteCounts, live: Live | None) -> _KnownBoard:
    tally = tally_of_counts(counts)
    fitted, spread = None, None
    if tally.models:
        live = move(live, tally.cells) if live and live.tally.models == tally.models else begin(tally)
        fitted, spread = with_intervals(counts, live.fit)
    fields = published(fitted, tally, spread, part=f"{counts.part} {counts.name}".strip(), judge=counts.judge)
    fields["ratings"]["last_status_change"] = counts.last_status_change_id
    board = Leaderboard(
        project=counts.project,
        judge=counts.judge,
        votes=counts.votes,
        last_comparison_id=counts.last_comparison_id,
        state=counts.state,
        **fields,
    )
    return _KnownBoard(live if tally.models else None, board)


def _is_time_for_a_snapshot(counts: VoteCounts) -> bool:
    since = timezone.now() - SNAPSHOT_EVERY
    snapshots = Leaderboard.objects.filter(project=counts.project, judge=counts.judge, created_at__gt=since)
    return bool(counts.votes) and not snapshots.exists()
