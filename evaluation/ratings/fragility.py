"""Find how few votes, or voters, decide the first place: which must be missing for another model to be first.

Huang et al. (2025, 2508.11847) found leaderboards whose first place hangs on 0.003 % of the votes. Their question is
asked here of the counts. All votes of one pair with one outcome weigh the same, so what is chosen is how many of each
such cell. To first order, a vote for i against j with score y lifts the gap between first and rival by

    (u_i − u_j)·(y − p_ij),    u = H⁺(e_first − e_rival)    (Broderick et al., 2020, 2011.14999)

so cells are emptied in the order of that influence, the number is found by bisection with exact refits, and influences
are taken anew where the places change, as long as that helps. So what is returned *does* change the first place; that
no smaller set would is proven only for one vote and for two models, and `is_minimal` says when. Else it is an upper
bound by a greedy search.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.ratings.bradley_terry import Fit, curvature, half_wins, sigmoid, solve_groups
from evaluation.ratings.tally import LABELS, Tally
from evaluation.ratings.vote_graph import groups
from evaluation.ratings.voter_clusters import SCORE, Block

AHEAD = 1e-9  # of log-odds: less is a tie for the first place
ROUNDS = 6
RIVALS = 8  # with an exact search; the others need more votes by the first-order count


@dataclass(frozen=True)
class Removal:
    """Remove `votes` votes in which `model` won against `other`, or tied with it; models as indices."""

    model: int
    other: int
    outcome: str  # "won" or "tied"
    votes: int


@dataclass(frozen=True)
class Fragility:
    """Say that without `removals`, `votes` out of `of`, the first place goes from `first` to `new_first`."""

    first: int
    new_first: int
    votes: int
    of: int
    removals: tuple[Removal, ...]
    is_minimal: bool  # proven; else an upper bound

    @property
    def share(self) -> float:
        return self.votes / self.of


@dataclass(frozen=True)
class VoterFragility:
    """Say that without all votes of `voters`, `votes` out of `of` by `of_voters` people, `new_first` is
    first."""

    first: int
    new_first: int
    voters: tuple[int, ...]
    of_voters: int
    votes: int
    of: int
    is_minimal: bool


@dataclass(frozen=True)
class _Cells:
    """The counts by outcome: (C,) winner or lower index, other, mean score seen by `i`, and votes."""

    i: np.ndarray
    j: np.ndarray
    score: np.ndarray
    votes: np.ndarray


@dataclass(frozen=True)
class _Order:
    """Units in the order in which to remove them: a cell's votes one by one, or voters.

    `first_units(n)` says which the first n are, `scores_without(n)` gives the scores (M, M) that are left.
    """

    first_units: Callable[[int], np.ndarray]
    scores_without: Callable[[int], np.ndarray]
    size: int
    guess: int


Arrange = Callable[[np.ndarray, np.ndarray, int], _Order]  # of log-odds, the scores that gave them, and a rival


def fewest_votes(fitted: Fit) -> Fragility | None:
    """Return the fewest votes found whose removal changes the first place of the largest group.

    None when there is no other model in it, or no removal that leaves the two compared does it.
    """
    first, rivals = _first_and_rivals(fitted)
    cells, scores = _cells(fitted.tally), fitted.tally.wins + fitted.tally.ties / 2

    def arrange(log_odds: np.ndarray, played: np.ndarray, rival: int) -> _Order:
        influence = _influence(log_odds, played, cells, first, rival)
        taking = _most_first(influence)
        guess = _count_for(influence[taking], cells.votes[taking], _gap(fitted, first, rival))
        return _Order(
            first_units=lambda n: _removed_votes(cells, taking, n),
            scores_without=lambda n: _left(scores, cells, _removed_votes(cells, taking, n)),
            size=int(cells.votes[taking].sum()),
            guess=guess,
        )

    removed = _search(fitted, first, _nearest(fitted, cells, first, rivals), arrange)
    if removed is None:
        return None
    new, votes = _leader(fitted, _left(scores, cells, removed), first), int(removed.sum())
    minimal = votes == 1 or len(rivals) == 1
    return Fragility(first, new, votes, fitted.tally.votes, _removals(cells, removed), minimal)


def fewest_voters(fitted: Fit, blocks: Sequence[Block]) -> VoterFragility | None:
    """Return the same for whole voters, with all their votes. Raises ValueError when `blocks` are not the votes of the
    fit."""
    first, rivals = _first_and_rivals(fitted)
    voter, a, b, label, count = (np.concatenate(column) for column in zip(*blocks, strict=True))
    if count.sum() != fitted.tally.votes:
        raise ValueError(f"the fit is of {fitted.tally.votes} votes and these are {count.sum()}: give the same votes.")
    names, owner = np.unique(voter, return_inverse=True)
    cell = (a * len(fitted.models) + b) * len(LABELS) + label

    def without(removed: np.ndarray) -> np.ndarray:
        cells = np.bincount(cell[removed], weights=count[removed], minlength=fitted.tally.cells.size)
        remaining = Tally(fitted.models, fitted.tally.cells - cells.reshape(fitted.tally.cells.shape))
        return remaining.wins + remaining.ties / 2

    def arrange(log_odds: np.ndarray, played: np.ndarray, rival: int) -> _Order:
        influence_by_vote = _vote_influence(log_odds, played, first, rival).ravel()[cell]
        influence = np.bincount(owner, weights=influence_by_vote * count, minlength=len(names))
        taking = _most_first(influence)
        rank_of = np.full(len(names), len(names))
        rank_of[taking] = np.arange(len(taking))
        rank = rank_of[owner]
        guess = _count_for(influence[taking], np.ones(len(taking)), _gap(fitted, first, rival))
        return _Order(lambda n: taking[:n], lambda n: without(rank < n), len(taking), guess)

    removed = _search(fitted, first, _nearest(fitted, _cells(fitted.tally), first, rivals), arrange)
    if removed is None:
        return None
    is_removed = np.isin(owner, removed)
    new, votes = _leader(fitted, without(is_removed), first), int(count[is_removed].sum())
    voters = tuple(int(names[k]) for k in np.sort(removed))
    return VoterFragility(first, new, voters, len(names), votes, fitted.tally.votes, len(voters) == 1)


def _search(fitted: Fit, first: int, rivals: list[int], arrange: Arrange) -> np.ndarray | None:
    """Return the smallest removal found over the rivals; influences are computed again where the order changes."""
    scores = fitted.tally.wins + fitted.tally.ties / 2
    fewest, best = None, None
    for rival in rivals:
        log_odds, played = fitted.log_odds, scores + half_wins(scores)
        for _ in range(ROUNDS):
            order = arrange(log_odds, played, rival)
            smallest = _smallest(order, fitted.log_odds, first, rival, order.size if fewest is None else fewest - 1)
            if smallest is None:
                break
            fewest, best = smallest, order.first_units(smallest)
            played = order.scores_without(smallest)
            played = played + half_wins(played)
            log_odds = solve_groups(played, fitted.log_odds)[0]
    return best


def _first_and_rivals(fitted: Fit) -> tuple[int, np.ndarray]:
    members = np.flatnonzero(fitted.group == 0)
    by_rating = members[np.argsort(-fitted.rating[members], kind="stable")]
    return int(by_rating[0]), by_rating[1:]


def _cells(tally: Tally) -> _Cells:
    wins, ties = tally.wins, np.triu(tally.ties, 1)
    (wi, wj), (ti, tj) = np.nonzero(wins), np.nonzero(ties)
    score = np.r_[np.ones(len(wi)), np.full(len(ti), 0.5)]
    return _Cells(np.r_[wi, ti], np.r_[wj, tj], score, np.r_[wins[wi, wj], ties[ti, tj]])


def _gap(fitted: Fit, first: int, rival: int) -> float:
    return float(fitted.log_odds[first] - fitted.log_odds[rival])


def _leverage(log_odds: np.ndarray, played: np.ndarray, first: int, rival: int) -> np.ndarray:
    """Return (M,) u = H⁺(e_first − e_rival)."""
    group = groups(played > 0)
    same = group[:, None] == group[None, :]
    hessian = curvature(played + played.T, sigmoid(log_odds[:, None] - log_odds[None, :]))
    contrast = np.zeros(len(log_odds))
    contrast[first], contrast[rival] = 1, -1
    return np.linalg.solve(hessian + same / same.sum(axis=1), contrast)


def _influence(log_odds: np.ndarray, played: np.ndarray, cells: _Cells, first: int, rival: int) -> np.ndarray:
    """Return (C,) by how much one vote of each cell lifts `first` above `rival`."""
    u = _leverage(log_odds, played, first, rival)
    return (u[cells.i] - u[cells.j]) * (cells.score - sigmoid(log_odds[cells.i] - log_odds[cells.j]))


def _vote_influence(log_odds: np.ndarray, played: np.ndarray, first: int, rival: int) -> np.ndarray:
    """Return (M, M, 4) the same by A, B and label."""
    u = _leverage(log_odds, played, first, rival)
    chance = sigmoid(log_odds[:, None] - log_odds[None, :])
    return (u[:, None] - u[None, :])[:, :, None] * (SCORE - chance[:, :, None])


def _most_first(influence: np.ndarray) -> np.ndarray:
    """Return the indices of the units that hold `first` above its rival, the strongest first."""
    taking = np.argsort(-influence, kind="stable")
    return taking[influence[taking] > 0]


def _nearest(fitted: Fit, cells: _Cells, first: int, rivals: np.ndarray) -> list[int]:
    """Return the rivals that need the fewest votes to first order."""
    scores = fitted.tally.wins + fitted.tally.ties / 2
    played, counts = scores + half_wins(scores), []
    for rival in rivals[: 4 * RIVALS]:
        influence = _influence(fitted.log_odds, played, cells, first, int(rival))
        taking = _most_first(influence)
        counts.append(_count_for(influence[taking], cells.votes[taking], _gap(fitted, first, int(rival))))
    return [int(rivals[k]) for k in np.argsort(counts, kind="stable")[:RIVALS]]


def _count_for(influence: np.ndarray, units: np.ndarray, gap: float) -> int:
    """Return how many units, in this order, close a gap to first order; all when they do not."""
    falls = np.cumsum(influence * units)
    last = int(np.searchsorted(falls, gap, side="right"))
    if last == len(falls):
        return int(units.sum())
    fall_before = falls[last - 1] if last else 0.0
    return int(units[:last].sum() + (gap - fall_before) / influence[last])


def _removed_votes(cells: _Cells, taking: np.ndarray, n: int) -> np.ndarray:
    """Return (C,) votes taken from each cell when the first n are."""
    votes, removed = cells.votes[taking], np.zeros(len(cells.votes))
    removed[taking] = np.clip(n - (np.cumsum(votes) - votes), 0, votes)
    return removed


def _left(scores: np.ndarray, cells: _Cells, removed: np.ndarray) -> np.ndarray:
    """Return (M, M) wins, ties as half, without the votes taken from each cell."""
    remaining = scores.copy()
    np.subtract.at(remaining, (cells.i, cells.j), removed * cells.score)
    np.subtract.at(remaining, (cells.j, cells.i), removed * (1 - cells.score))
    return remaining


def _smallest(order: _Order, start: np.ndarray, first: int, rival: int, limit: int) -> int | None:
    """Return the smallest n up to `most` that puts the rival ahead, by bisection with exact refits from the guess
    outwards."""

    def changes(n: int) -> bool:
        return _is_ahead(order.scores_without(n), start, first, rival)

    limit = min(limit, order.size)
    if limit < 1:
        return None
    low, high, step = 0, min(max(order.guess, 1), limit), 1
    while not changes(high):
        if high == limit:
            return None
        low, high, step = high, min(high + step, limit), 2 * step
    step = 1
    while high - low > 1:
        middle = max(high - step, (low + high) // 2)
        if changes(middle):
            high, step = middle, 2 * step
        else:
            low = middle
    return high


def _is_ahead(scores: np.ndarray, start: np.ndarray, first: int, rival: int) -> bool:
    """Return whether the rival is above the first in the exact fit, while both are still compared."""
    log_odds, group = solve_groups(scores + half_wins(scores), start)
    return bool(group[first] == group[rival] and log_odds[rival] > log_odds[first] + AHEAD)


def _leader(fitted: Fit, scores: np.ndarray, first: int) -> int:
    """Return the first of the models that are still compared with the first."""
    log_odds, group = solve_groups(scores + half_wins(scores), fitted.log_odds)
    return int(np.where(group == group[first], log_odds, -np.inf).argmax())


def _removals(cells: _Cells, removed: np.ndarray) -> tuple[Removal, ...]:
    cells_removed = [int(c) for c in np.argsort(-removed, kind="stable") if removed[c]]
    outcome = {1.0: "won", 0.5: "tied"}
    return tuple(
        Removal(int(cells.i[c]), int(cells.j[c]), outcome[float(cells.score[c])], int(removed[c]))
        for c in cells_removed
    )
