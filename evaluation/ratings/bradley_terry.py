"""Fit Bradley-Terry ratings: Newton on counts, a sandwich covariance, intervals of ratings and of differences.

With p_ij = σ(r_i − r_j), y = 1 for a win and ½ for a tie, it minimises −Σ [y·log p + (1−y)·log(1−p)]. The covariance
is H⁻¹GH⁻¹ (White, 1982), since a tie is not a draw of a coin: G sums the squared scores that were seen. Published
numbers are 1000 + 400/ln 10 · r, centred so that the mean of the compared models is 1000.

Where the votes alone give no finite answer, and only there, half a win is added each way (the Jeffreys prior of one
pair's log-odds; Firth, 1993), and `is_penalised` says so:
- pairs across which every win goes one way (an unbeaten model would be rated infinite);
- pairs without a decisive vote that alone join two models get it in G (their interval would have no width).
Models that no chain of votes joins are in different `group`s: between these nothing can be said, and nothing is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.distributions import Z95
from evaluation.ratings.tally import Tally
from evaluation.ratings.vote_graph import groups, strong_groups

CENTRE, SCALE = 1000.0, 400.0 / math.log(10.0)
HALF_WIN = 0.5
LONGEST_STEP = 3.0  # of Newton's method, in log-odds


class NotConverged(ArithmeticError):
    """Raised when Newton's method did not reach the maximum; the fit is refused, since a wrong rating is worse than
    none."""


@dataclass(frozen=True)
class Difference:
    """The difference of two ratings, with its 95 % interval from their joint covariance."""

    value: float
    lower: float
    upper: float

    @property
    def verdict(self) -> str:
        if self.lower > 0:
            return "better"
        return "worse" if self.upper < 0 else "undecided"


@dataclass(frozen=True)
class Fit:
    """Ratings of `tally.models`, on the published scale; `covariance` (M, M) is on it too, NaN across groups.

    `critical` is how many standard errors an interval reaches: the normal distribution's, or Student's where few
    voters stand behind the covariance.
    """

    tally: Tally
    rating: np.ndarray
    covariance: np.ndarray
    group: np.ndarray
    is_penalised: np.ndarray
    critical: float = Z95

    @property
    def models(self) -> tuple[Any, ...]:
        return self.tally.models

    @property
    def log_odds(self) -> np.ndarray:
        """Return (M,): the ratings on the scale on which a difference is the logarithm of the odds of winning."""
        return (self.rating - CENTRE) / SCALE

    @property
    def lower(self) -> np.ndarray:
        return self.rating - self.critical * self.standard_error

    @property
    def upper(self) -> np.ndarray:
        return self.rating + self.critical * self.standard_error

    @property
    def standard_error(self) -> np.ndarray:
        return np.sqrt(np.diagonal(self.covariance))

    def difference(self, i: int, j: int) -> Difference | None:
        """Return the rating of model i less that of model j; None when no chain of votes joins them."""
        if self.group[i] != self.group[j]:
            return None
        value, reach = self.rating[i] - self.rating[j], self._difference_reach()[i, j]
        return Difference(float(value), float(value - reach), float(value + reach))

    def ranks(self) -> np.ndarray:
        """Return (M, 2): best and worst rank in its group that the votes allow each model.

        One more than the models that are better beyond doubt, and than those that are not worse beyond doubt: by the
        intervals of differences, since two models' own intervals may overlap although their difference is decided.
        """
        reach = self._difference_reach()
        gap = self.rating[None, :] - self.rating[:, None]  # column less row
        same = self.group[:, None] == self.group[None, :]
        better = same & (gap - reach > 0)
        not_worse = same & ~(gap + reach < 0) & ~np.eye(len(gap), dtype=bool)
        return np.stack([1 + better.sum(axis=1), 1 + not_worse.sum(axis=1)], axis=1)

    def more_votes(self, i: int, j: int) -> int | None:
        """Return about how many more battles of i against j decide their difference, if it stays as it is.

        Each such battle adds h²/g to the information about the difference, with h = p(1−p) and g = h − ties/4 the
        expected squared score at the share of ties seen so far (h/4 at least). 0 when it is decided already, None
        when there is no difference at all, no chain of votes joins the two, or one voter gave nearly all votes.
        """
        now = self.difference(i, j)
        if now is None or now.value == 0 or not math.isfinite(self.critical):
            return None
        if now.verdict != "undecided":
            return 0
        p = 1 / (1 + math.exp(-now.value / SCALE))
        ties = float(self.tally.ties.sum() / 2 / self.tally.votes)
        h = p * (1 - p)
        g = max(h - ties / 4, h / 4)
        reach = now.upper - now.value
        needed_weight, informed = (self.critical * SCALE / now.value) ** 2, (self.critical * SCALE / reach) ** 2
        return max(0, math.ceil((needed_weight - informed) * g / h**2))

    def _difference_reach(self) -> np.ndarray:
        """Return (M, M) the half widths of the differences' intervals; NaN across groups."""
        error = self._difference_error()
        return np.multiply(self.critical, error, out=np.zeros_like(error), where=error != 0)  # 0 · ∞ is 0 here

    def _difference_error(self) -> np.ndarray:
        squared = of_differences(self.covariance)
        return np.sqrt(np.maximum(squared, 0))  # NaN across groups: compares as neither better nor worse


def fit(tally: Tally) -> Fit:
    """Return ratings with their covariance. Raises ValueError without models, NotConverged when Newton fails."""
    if not tally.models:
        raise ValueError("there is nothing to rate: tally at least one vote.")
    scores = tally.wins + tally.ties / 2
    added = half_wins(scores)
    log_odds, group = solve_groups(scores + added, np.zeros(len(scores)))
    return fitted_at(tally, log_odds, group, added)


def fitted_at(tally: Tally, log_odds: np.ndarray, group: np.ndarray, added: np.ndarray) -> Fit:
    """Return the fit with its covariance, from log-odds that are known to be the maximum with `added` half wins."""
    wins, ties = tally.wins, tally.ties
    bridged = wins + added + tie_bridges(wins + added, ties)
    squared = squared_scores(log_odds, bridged, ties)
    covariance = sandwiched(log_odds, group, wins + ties / 2 + added, squared)
    penalised = (added + tie_bridges(wins, ties)).any(axis=1)
    return Fit(tally, CENTRE + SCALE * log_odds, covariance, group, penalised)


def half_wins(scores: np.ndarray) -> np.ndarray:
    """Return half a win each way for the pairs that keep a group from being strongly connected, else 0."""
    strong = strong_groups(scores > 0)
    return HALF_WIN * ((scores + scores.T > 0) & (strong[:, None] != strong[None, :]))


def solve_groups(scores: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (M,) log-odds, each group centred on its own, and (M,) group numbers."""
    group, log_odds = groups(scores > 0), np.zeros(len(scores))
    for number in range(group.max() + 1):
        members = np.flatnonzero(group == number)
        log_odds[members] = solve(scores[np.ix_(members, members)], start[members])
    return log_odds, group


def solve(scores: np.ndarray, start: np.ndarray, tolerance: float = 1e-10, steps: int = 100) -> np.ndarray:
    """Return (M,) centred log-odds from `scores` (M, M), wins with ties as half, of one strongly connected group.

    It ends with a step of at most `tolerance`: where crowds of votes are joined by a few, the gradient is small beside
    all votes long before the ratings are right. Or with a gradient that is rounding alone.
    """
    size = len(scores)
    played = scores + scores.T
    rounding = 4 * np.finfo(float).eps * played.sum(axis=1).max(initial=0)
    log_odds = start - start.mean()
    loss = _loss(scores, log_odds)
    for _ in range(steps):
        chance = sigmoid(log_odds[:, None] - log_odds[None, :])
        gradient = (scores - played * chance).sum(axis=1)
        step = np.linalg.solve(curvature(played, chance) + 1 / size, gradient)
        if np.abs(step).max(initial=0) <= tolerance or np.abs(gradient).max(initial=0) <= rounding:
            return log_odds + step - step.mean()
        # From a start that the votes contradict, a full step can land, lower, where all is flat and H singular.
        step *= min(1.0, LONGEST_STEP / max(np.abs(step).max(), LONGEST_STEP))
        log_odds, loss = _descend(scores, log_odds, loss, step)
    raise NotConverged(f"the fit of {size} models did not converge in {steps} Newton steps.")


def _descend(scores: np.ndarray, log_odds: np.ndarray, loss: float, step: np.ndarray) -> tuple[np.ndarray, float]:
    """Take a Newton step, halved until the loss does not rise: far from the maximum a full step can overshoot."""
    slack = 1e-12 * max(1.0, abs(loss))
    for _ in range(60):
        trial = log_odds + step
        if (lower := _loss(scores, trial)) <= loss + slack:
            return trial - trial.mean(), lower
        step = step / 2
    raise NotConverged("no step along Newton's direction lowers the loss.")


def _loss(scores: np.ndarray, log_odds: np.ndarray) -> float:
    return float((scores * np.logaddexp(0, log_odds[None, :] - log_odds[:, None])).sum())


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(x / 2))  # never overflows


def curvature(played: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Return the Hessian H: a graph's Laplacian with n·p(1−p) on the edges, singular along the constant."""
    return laplacian(played * chance * (1 - chance))


def laplacian(weights: np.ndarray) -> np.ndarray:
    return np.diag(weights.sum(axis=1)) - weights


def of_differences(form: np.ndarray) -> np.ndarray:
    """Return (M, M) of xᵀ·form·x for x = eᵢ − eⱼ."""
    diagonal = np.diagonal(form)
    return diagonal[:, None] + diagonal[None, :] - 2 * form


def sandwiched(log_odds: np.ndarray, group: np.ndarray, scores: np.ndarray, squared: np.ndarray) -> np.ndarray:
    """Return (M, M) covariance H⁺GH⁺ of centred ratings on the published scale, NaN across groups.

    `scores` (M, M) are the wins, ties as half, that were fitted; `squared` (M, M) is G, the sum of squared scores of
    whatever is independent: votes or voters. Adding 11ᵀ/M makes H regular; G is zero along the constant, so nothing
    changes.
    """
    covariance = np.full(squared.shape, np.nan)
    for number in range(group.max() + 1):
        members = np.flatnonzero(group == number)
        block = np.ix_(members, members)
        chance = sigmoid(log_odds[members, None] - log_odds[None, members])
        inverse = np.linalg.inv(curvature((scores + scores.T)[block], chance) + 1 / len(members))
        covariance[block] = SCALE**2 * inverse @ squared[block] @ inverse
    return covariance


def squared_scores(log_odds: np.ndarray, wins: np.ndarray, ties: np.ndarray) -> np.ndarray:
    """Return (M, M) G of single votes: Σ s sᵀ, where a vote's score s is (y − p)·(eᵢ − eⱼ)."""
    chance = sigmoid(log_odds[:, None] - log_odds[None, :])
    return laplacian(wins * (1 - chance) ** 2 + wins.T * chance**2 + ties * (0.5 - chance) ** 2)


def tie_bridges(wins: np.ndarray, ties: np.ndarray) -> np.ndarray:
    """Return half a win each way for pairs with only ties that join models which no decisive vote joins, else 0."""
    decisive = groups(wins + wins.T > 0)
    return HALF_WIN * ((ties > 0) & (decisive[:, None] != decisive[None, :]))
