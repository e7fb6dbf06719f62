"""Present a snapshot of the leaderboard: rows with their models, the win matrix, position bias."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from annotate.models import LanguageModel
from common.intervals import wilson
from evaluation.leaderboard import fluency_columns
from evaluation.leaderboard.fluency_columns import Fluency
from evaluation.leaderboard.snapshots import tally_of
from evaluation.models import Leaderboard

EARLY = 200  # rating points to each side: what a dozen votes of two models leave open, or all votes of two annotators


def is_early(lower: float, upper: float) -> bool:
    """Return whether an interval in rating points hardly bounds a difference; an end that is not known bounds none."""
    return not (upper - lower) / 2 < EARLY


@dataclass(frozen=True)
class Against:
    """The difference between a model and its nearest rated ancestor, in rating points, with its 95 % interval."""

    model: LanguageModel
    is_parent: bool
    difference: float
    lower: float
    upper: float
    verdict: str
    more_votes: int | None

    @property
    def is_early(self) -> bool:
        """Return whether the votes hardly bound the difference: then the page says nothing of it, nor of votes to
        come."""
        return is_early(self.lower, self.upper)


@dataclass(frozen=True)
class Standing:
    """One row of the leaderboard; `fluency` is filled by `with_fluency`."""

    model: LanguageModel
    rating: float
    lower: float
    upper: float
    rank: int
    worst_rank: int
    group: int
    is_penalised: bool
    battles: int
    wins: int
    ties: int
    losses: int
    against: Against | None
    fluency: Fluency | None = None

    @property
    def ranks(self) -> str:
        return str(self.rank) if self.rank == self.worst_rank else f"{self.rank}–{self.worst_rank}"

    @property
    def is_connected(self) -> bool:
        """Return whether votes join the model to the largest group; only then its rating compares with the others'."""
        return self.group == 0

    @property
    def margin(self) -> float:
        return self.upper - self.rating


@dataclass(frozen=True)
class Meeting:
    """The votes between the model of a row and the model of a column; `share` is wins, with ties as half."""

    wins: int
    ties: int
    losses: int
    pair: str  # the two models, as the page of votes has them in its address

    @property
    def battles(self) -> int:
        return self.wins + self.ties + self.losses

    @property
    def share(self) -> float:
        return (self.wins + self.ties / 2) / self.battles

    @property
    def shade(self) -> int:
        """Return the class of colour, 0 (lost all) over 5 (level) to 10 (won all); the numbers always stand beside
        it."""
        return round(10 * self.share)


@dataclass(frozen=True)
class PositionShare:
    """The share of decisive votes that chose the answer shown first, with its Wilson interval."""

    votes: int
    value: float
    lower: float
    upper: float

    @property
    def is_biased(self) -> bool:
        return not self.lower <= 0.5 <= self.upper


def standings(board: Leaderboard) -> list[Standing]:
    """Return the rows of a snapshot, best first, with their models in one query."""
    rows = board.ratings["rows"]
    ids = {row["model"] for row in rows} | {row["against"]["model"] for row in rows if row["against"]}
    models = LanguageModel.objects.in_bulk(ids)
    return [_standing(row, models) for row in rows]


def with_fluency(board: Leaderboard) -> list[Standing]:
    """Return the rows with the fluency of each model; for a past moment as it was known then."""
    rows = standings(board)
    until = None if board.state or board.pk else board.created_at
    fluency_by_model = fluency_columns.of_models(board.project, [row.model.pk for row in rows], until)
    return [replace(row, fluency=fluency_by_model.get(row.model.pk)) for row in rows]


def _standing(row: dict, models: dict[int, LanguageModel]) -> Standing:
    model, against = models[row["model"]], row["against"]
    if against is not None:
        ancestor = models[against["model"]]
        against = Against(**{**against, "model": ancestor, "is_parent": model.parent_id == ancestor.pk})
    return Standing(**{**row, "model": model, "against": against})


def win_matrix(board: Leaderboard, rows: list[Standing]) -> list[tuple[Standing, list[Meeting | None]]]:
    """Return for each row its meetings with all models, in the order of the rows; None where two never met."""
    tally = tally_of(board)
    index_by_model = {model: index for index, model in enumerate(tally.models)}
    order = [index_by_model[row.model.pk] for row in rows]
    wins, ties = tally.wins[np.ix_(order, order)], tally.ties[np.ix_(order, order)]
    models = [row.model.pk for row in rows]
    return [(row, [_meeting(wins, ties, models, i, j) for j in range(len(rows))]) for i, row in enumerate(rows)]


def _meeting(wins: np.ndarray, ties: np.ndarray, models: list[int], i: int, j: int) -> Meeting | None:
    meeting = Meeting(int(wins[i, j]), int(ties[i, j]), int(wins[j, i]), f"{models[i]}-{models[j]}")
    return meeting if meeting.battles else None


def position_share(board: Leaderboard) -> PositionShare | None:
    """Return the share of votes for the answer shown first; None while nobody has chosen a side."""
    tally = tally_of(board)
    share = tally.a_wins_share
    if share is None:
        return None
    n = int(tally.cells[:, :, :2].sum())
    return PositionShare(n, share, *wilson(share * n, n))
