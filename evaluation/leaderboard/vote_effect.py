"""Tell the ratings of the two models of a vote, and by how much this very vote moves them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from annotate.arena.battles.vote_effects import RatingAfterVote
from annotate.models import Comparison
from evaluation.leaderboard.leaderboard_rows import is_early, standings
from evaluation.leaderboard.snapshots import current, tally_of
from evaluation.models import Leaderboard
from evaluation.ratings import LABELS
from evaluation.ratings.bradley_terry import SCALE
from evaluation.ratings.incremental_fit import begin
from evaluation.ratings.incremental_fit import vote as after_votes

MOST_MODELS = 60  # beyond, fitting once more would keep the voter waiting


def ratings_after(vote: Comparison) -> Mapping[int, RatingAfterVote]:
    """Return {id of the model: its rating}, for those of the two that have one."""
    board = current(project=vote.project, judge=vote.judge)
    ids = {vote.completion_a.model_id, vote.completion_b.model_id}
    changes = _changes(board, vote)
    return {
        row.model.pk: RatingAfterVote(
            row.rating, row.margin, row.battles, changes.get(row.model.pk), is_early(row.lower, row.upper)
        )
        for row in standings(board)
        if row.model.pk in ids
    }


def _changes(board: Leaderboard, vote: Comparison) -> dict[int, float]:
    """Return how far the ratings with this vote are from those without it; empty where that cannot be told."""
    tally = tally_of(board)
    models = list(tally.models)
    a, b = vote.completion_a.model_id, vote.completion_b.model_id
    if a is None or b is None or len(models) > MOST_MODELS or a not in models or b not in models:
        return {}
    live = begin(tally)
    index_a, index_b, label = models.index(a), models.index(b), LABELS.index(vote.winner)
    if not live.tally.cells[index_a, index_b, label]:
        return {}  # it is not counted yet
    without = after_votes(live, index_a, index_b, label, -1)
    if not without.tally.battles[[index_a, index_b]].all() or not np.array_equal(live.group, without.group):
        return {}  # it gave one of them its first rating, or joined what was apart
    moved = SCALE * (live.log_odds - without.log_odds)
    return {a: float(moved[index_a]), b: float(moved[index_b])}
