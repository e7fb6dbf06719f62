"""Update ratings by single votes, forwards and backwards, in agreement with a fit from the beginning.

One vote more or less changes one cell of the counts. From where the ratings stand a step or two with the inverse
Hessian that is known already leads to the new maximum: each costs O(M²), and shrinks the error by as much as the
Hessian has changed, which is little. Only when a vote changes who is joined to whom, or the steps shrink the error too
slowly, is everything solved anew. The criterion is the length of a step, so a thousand steps drift no further than one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from evaluation.ratings.bradley_terry import Fit, curvature, fitted_at, half_wins, sigmoid, solve_groups
from evaluation.ratings.tally import LABELS, Tally
from evaluation.ratings.vote_graph import groups

SMALL_STEP = 1e-12  # in log-odds: 2e-10 rating points
FEW_STEPS = 6


@dataclass(frozen=True)
class Live:
    """Ratings of `tally` at their maximum; `inverse` (M, M) is that of a Hessian at or near it, 0 across groups.

    `added` (M, M) are the half wins without which there would be no maximum, `group` (M,) who can be compared.
    """

    tally: Tally
    scores: np.ndarray  # (M, M) wins, ties as half
    added: np.ndarray
    group: np.ndarray
    log_odds: np.ndarray
    inverse: np.ndarray

    @cached_property
    def fit(self) -> Fit:
        """Return the fit with intervals, computed only on demand and not at every vote."""
        return fitted_at(self.tally, self.log_odds, self.group, self.added)


def begin(tally: Tally, start: np.ndarray | None = None) -> Live:
    """Return live ratings from counts. `start` (M,) are log-odds to begin at.

    Raises ValueError without models, NotConverged when Newton's method fails.
    """
    if not tally.models:
        raise ValueError("there is nothing to rate: tally at least one vote.")
    scores = tally.wins + tally.ties / 2
    added = half_wins(scores)
    log_odds, group = solve_groups(scores + added, np.zeros(len(scores)) if start is None else start)
    inverse = _inverse(scores + added, log_odds, group)
    settled = _settle(scores + added, log_odds, inverse)
    return Live(tally, scores, added, group, log_odds if settled is None else settled, inverse)


def vote(live: Live, a: int, b: int, label: int, count: int = 1) -> Live:
    """Return the ratings after `count` more votes with label `LABELS[label]` of the models `a` and `b` (indices);
    negative takes back.

    Raises ValueError when there are not as many to take back.
    """
    if a == b or not 0 <= label < len(LABELS):
        raise ValueError(f"a vote is between two models and says one of 0..{len(LABELS) - 1}: got {a}, {b}, {label}.")
    if live.tally.cells[a, b, label] + count < 0:
        raise ValueError(f"{-count} such votes cannot be taken back: {int(live.tally.cells[a, b, label])} were given.")
    cells = live.tally.cells.copy()
    cells[a, b, label] += count
    return move(live, cells)


def move(live: Live, cells: np.ndarray) -> Live:
    """Return the ratings at any other counts (M, M, 4) of the same models: a vote, an undo, a ban, or all votes of a
    second."""
    tally = Tally(live.tally.models, cells)
    scores = tally.wins + tally.ties / 2
    if not _is_joined_alike(live, scores):
        return begin(tally, live.log_odds)
    settled = _settle(scores + live.added, live.log_odds, live.inverse)
    if settled is None:
        return begin(tally, live.log_odds)
    return replace(live, tally=tally, scores=scores, log_odds=settled)


def _is_joined_alike(live: Live, scores: np.ndarray) -> bool:
    """Return whether the groups, and the pairs that need half wins, are the same as before."""
    beats = scores > 0
    if np.array_equal(beats, live.scores > 0):
        return True
    return np.array_equal(half_wins(scores), live.added) and np.array_equal(groups(beats), live.group)


def _inverse(scores: np.ndarray, log_odds: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return (M, M) the pseudo-inverse Hessian of each group by itself, 0 between groups."""
    inverse = np.zeros(scores.shape)
    for number in range(group.max() + 1):
        members = np.flatnonzero(group == number)
        block, size = np.ix_(members, members), len(members)
        chance = sigmoid(log_odds[members, None] - log_odds[None, members])
        inverse[block] = np.linalg.inv(curvature((scores + scores.T)[block], chance) + 1 / size) - 1 / size
    return inverse


def _settle(scores: np.ndarray, log_odds: np.ndarray, inverse: np.ndarray) -> np.ndarray | None:
    """Return the log-odds at the maximum near by; None when a few steps with this inverse do not reach it."""
    played, won = scores + scores.T, scores.sum(axis=1)
    rounding = np.finfo(float).eps * played.sum(axis=1).max(initial=0) * np.abs(inverse).sum(axis=1).max(initial=0)
    for _ in range(FEW_STEPS):
        chance = sigmoid(log_odds[:, None] - log_odds[None, :])
        step = inverse @ (won - np.einsum("ij,ij->i", played, chance))
        log_odds = log_odds + step
        if np.abs(step).max(initial=0) <= max(SMALL_STEP, rounding):
            return log_odds
    return None
