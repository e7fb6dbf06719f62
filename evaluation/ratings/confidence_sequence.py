"""Compute a confidence sequence for each pair: an interval that is valid after every vote, and evidence against an even
match.

A vote of i against j scores x = 1 for a win, ½ for a tie, 0 for a loss. Were i's mean score m, then a gambler who
begins with 1 and multiplies it, vote by vote, by

    (1 − x + x·e^θ) / (1 − m + m·e^θ)

gains nothing on average, whatever the share of ties. So the wealth, averaged over many θ, reaches 1/α with probability
at most α, *ever* (Ville, 1939), and the means m at which it has not reached 1/α hold the true one at every look at
once. This is testing by betting (Waudby-Smith & Ramdas, 2024), the bet written as a tilt of the odds. Three things
follow from that form:
- only the counts of wins, ties and losses matter, not their order: an undo or a ban needs no replay;
- the logarithm of the wealth is convex in m, so the means that are left form an interval (found by Newton's method);
- tilts of one sign alone test "i is no better than that", for a one-sided bound.

The weights of θ are largest near a quarter, the right bet on pairs that some hundred votes can decide. Measured on
200 votes of equal models this gives an interval 1.6 times as wide as the one that may be read only once, against 2.1
for universal inference with a Krichevsky-Trofimov mixture over wins, ties and losses (Wasserman et al., 2020), which
pays for the share of ties too. What is needed: each vote's mean, given the votes before it, is m. One person who votes
many times on a pair breaks that: 30 voters of firm taste, 1,000 votes, and a third of even pairs is called decided at
some look; see `one_vote_each`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from evaluation.ratings.bradley_terry import SCALE
from evaluation.ratings.tally import Tally

_STEEPNESS = 0.25
_TILTS = np.geomspace(0.004, 8.0, 18)
_MASS = 1 / (_TILTS / _STEEPNESS + _STEEPNESS / _TILTS)
Counts = tuple[np.ndarray, np.ndarray, np.ndarray]  # wins, ties, losses, each (K,)
NEVER = math.inf  # of more votes: the shares as they are would never decide


@dataclass(frozen=True)
class _Bets:
    """θ and the logarithm of its weight, each (G,)."""

    tilt: np.ndarray
    log_weight: np.ndarray


_BETTER = _Bets(_TILTS, np.log(_MASS / _MASS.sum()))
_EITHER = _Bets(np.r_[-_TILTS[::-1], _TILTS], np.log(np.r_[_MASS[::-1], _MASS] / _MASS.sum() / 2))


@dataclass(frozen=True)
class ConfidenceSequence:
    """Hold, for pairs in any shape, arrays of that shape: bounds of the mean score, and the evidence against an even
    match.

    `log_e` is the logarithm of the e-value against a mean of ½. `lower` and `upper` hold at level 1 − `alpha` at every
    look at once.
    """

    alpha: float
    lower: np.ndarray
    upper: np.ndarray
    log_e: np.ndarray
    more: np.ndarray  # about how many more votes until it is decided, as the shares are now; inf: never

    @property
    def rating_lower(self) -> np.ndarray:
        return points(self.lower)

    @property
    def rating_upper(self) -> np.ndarray:
        return points(self.upper)

    @property
    def e_value(self) -> np.ndarray:
        """Return the e-value. It may overflow to inf; then read `log_e`."""
        with np.errstate(over="ignore"):
            return np.exp(self.log_e)

    @property
    def is_decided(self) -> np.ndarray:
        """Return whether a mean of ½ lies outside the interval. Once it was outside at any look, it stays decided."""
        return self.log_e >= math.log(1 / self.alpha)

    def more_votes(self, i: int, j: int) -> int | None:
        """Return about how many more votes of i against j decide it; 0 when decided, None when no number would."""
        return int(self.more[i, j]) if np.isfinite(self.more[i, j]) else None


def confidence_sequence(
    wins: np.ndarray, ties: np.ndarray, losses: np.ndarray, alpha: float = 0.05
) -> ConfidenceSequence:
    """Return the sequences of pairs given by counts (…), of any shape. Raises ValueError on counts below 0 or a bad
    alpha."""
    counts, shape = _checked(wins, ties, losses, alpha)
    lower = _lower(*counts, alpha, _EITHER)
    upper = 1 - _lower(*counts[::-1], alpha, _EITHER)
    log_e = _log_wealth(*counts, np.full(len(lower), 0.5), _EITHER)
    more = _more(*counts, 0.5, alpha, _EITHER)
    return ConfidenceSequence(alpha, *(x.reshape(shape) for x in (lower, upper, log_e, more)))


def pair_sequences(tally: Tally, alpha: float = 0.05) -> ConfidenceSequence:
    """Return (M, M): the row's model against the column's, from their votes against each other alone.

    Each pair has its own level: for all of M·(M−1)/2 at once divide alpha by their number.
    """
    size = len(tally.models)
    row, column = np.triu_indices(size, 1)
    half = confidence_sequence(tally.wins[row, column], tally.ties[row, column], tally.wins[column, row], alpha)
    squares = []
    for forward, back, diagonal in (
        (half.lower, 1 - half.upper, 0.0),
        (half.upper, 1 - half.lower, 1.0),
        (half.log_e, half.log_e, 0.0),
        (half.more, half.more, NEVER),
    ):
        square = np.full((size, size), diagonal)
        square[row, column], square[column, row] = forward, back
        squares.append(square)
    return ConfidenceSequence(alpha, *squares)


def lower_bound(wins: np.ndarray, ties: np.ndarray, losses: np.ndarray, alpha: float = 0.05) -> np.ndarray:
    """Return (…) one-sided bound of the mean score: "at least this good", right at every look with probability 1 −
    alpha.

    The lower bound of a rating difference is `points` of it; a child is better than its parent when it is above ½.
    """
    counts, shape = _checked(wins, ties, losses, alpha)
    return _lower(*counts, alpha, _BETTER).reshape(shape)


def log_e_above(wins: np.ndarray, ties: np.ndarray, losses: np.ndarray, mean: float) -> np.ndarray:
    """Return (…) log e-value against "the mean score is at most `mean`"; `lower_bound` is above it from log(1/alpha)
    on."""
    counts, shape = _checked(wins, ties, losses)
    return _log_wealth(*counts, np.full(len(counts[0]), mean), _BETTER).reshape(shape)


def log_e_at(wins: np.ndarray, ties: np.ndarray, losses: np.ndarray, mean: float) -> np.ndarray:
    """Return (…) log e-value against "the mean score is `mean`", in both directions."""
    counts, shape = _checked(wins, ties, losses)
    return _log_wealth(*counts, np.full(len(counts[0]), mean), _EITHER).reshape(shape)


def points(mean: np.ndarray) -> np.ndarray:
    """Return the rating points of a mean score: 400·log10(m/(1−m)); −inf at 0 and inf at 1, where the votes set no
    limit."""
    with np.errstate(divide="ignore"):
        return SCALE * (np.log(mean) - np.log1p(-np.asarray(mean)))


def mean_score(margin: float) -> float:
    """Return the mean score of a model that is `margin` rating points better."""
    return 1 / (1 + math.exp(-margin / SCALE))


def one_vote_each(voter: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return (N,) True at each voter's first vote on each pair, whichever way shown; votes in the order they were
    given.

    A person's later votes on a pair repeat their taste: with these left out, the sequence holds among repeated voters.
    """
    size = int(max(a.max(initial=0), b.max(initial=0))) + 1
    key = (voter.astype(np.int64) * size + np.minimum(a, b)) * size + np.maximum(a, b)
    first = np.zeros(len(key), dtype=bool)
    first[np.unique(key, return_index=True)[1]] = True
    return first


def _checked(
    wins: np.ndarray, ties: np.ndarray, losses: np.ndarray, alpha: float = 0.05
) -> tuple[Counts, tuple[int, ...]]:
    """Return the counts as (K,) floats, and the shape they came in."""
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is a probability between 0 and 1, like 0.05: got {alpha}.")
    w, t, loss = np.broadcast_arrays(*(np.asarray(x, dtype=float) for x in (wins, ties, losses)))
    for name, values in (("wins", w), ("ties", t), ("losses", loss)):
        if not (np.isfinite(values).all() and (values >= 0).all()):
            raise ValueError(f"{name} are counts, 0 or more: got {values.min()}.")
    return (w.ravel(), t.ravel(), loss.ravel()), w.shape


def _gains(wins: np.ndarray, ties: np.ndarray, bets: _Bets) -> np.ndarray:
    """Return (K, G): the part of each bet's log wealth that does not depend on m, its weight included."""
    tie = np.logaddexp(0, bets.tilt) - math.log(2)
    return bets.log_weight + wins[:, None] * bets.tilt + ties[:, None] * tie


def _log_wealth(wins: np.ndarray, ties: np.ndarray, losses: np.ndarray, mean: np.ndarray, bets: _Bets) -> np.ndarray:
    votes = (wins + ties + losses)[:, None]
    return _log_sum(_gains(wins, ties, bets) - votes * np.log1p(mean[:, None] * np.expm1(bets.tilt)))[0]


def _log_sum(terms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return log Σ exp over the last axis, and each term's share in it."""
    top = terms.max(axis=1, keepdims=True)
    parts = np.exp(terms - top)
    total = parts.sum(axis=1, keepdims=True)
    return (top + np.log(total))[:, 0], parts / total


def _lower(wins: np.ndarray, ties: np.ndarray, losses: np.ndarray, alpha: float, bets: _Bets) -> np.ndarray:
    """Return (K,) where log wealth, convex in m, comes down to log(1/alpha); 0 where it never stood above.

    Newton on a convex falling function passes the root at most once, to the side where the interval is wider, and
    then climbs towards it: what is returned is never too high.
    """
    gains, limit, growth = _gains(wins, ties, bets), math.log(1 / alpha), np.expm1(bets.tilt)
    votes = wins + ties + losses
    bounds = np.zeros(len(votes))
    open_ = np.flatnonzero(_log_sum(gains)[0] > limit)
    mean = _first_guess(wins[open_], ties[open_], votes[open_], limit)
    for _ in range(60):
        slope = 1 + mean[:, None] * growth
        height, share = _log_sum(gains[open_] - votes[open_, None] * np.log(slope))
        falling = votes[open_] * (share * growth / slope).sum(axis=1)
        step = np.where(falling > 0, (height - limit) / np.where(falling > 0, falling, 1), -mean)
        new_mean = np.where(mean + step > 0, mean + step, mean / 8)
        bounds[open_] = new_mean
        is_moving = np.abs(step) > 1e-9
        open_, mean = open_[is_moving], np.minimum(new_mean[is_moving], 1 - 1e-15)
        if not len(open_):
            break
    return bounds


def _first_guess(wins: np.ndarray, ties: np.ndarray, votes: np.ndarray, limit: float) -> np.ndarray:
    """Return (K,) Wilson's lower bound at about the sequence's width: a good starting point."""
    mean, squared = (wins + ties / 2) / votes, 2 * (limit + 2)
    spread = np.sqrt(squared * mean * (1 - mean) / votes + (squared / votes / 2) ** 2)
    return np.clip((mean + squared / votes / 2 - spread) / (1 + squared / votes), 1e-12, mean)


def _more(wins: np.ndarray, ties: np.ndarray, losses: np.ndarray, mean: float, alpha: float, bets: _Bets) -> np.ndarray:
    """Return (K,) votes to come, at the shares so far, until log wealth at `mean` is log(1/alpha); 0 if it is, inf if
    never.

    At fixed shares it is convex in the number of votes: Newton from a number that is surely enough comes down to it.
    """
    limit, votes = math.log(1 / alpha), wins + ties + losses
    gain_per_vote = (_gains(wins, ties, bets) - bets.log_weight) / np.maximum(votes, 1)[:, None]
    gain_per_vote = gain_per_vote - np.log1p(mean * np.expm1(bets.tilt))
    gain_per_vote = np.where(votes[:, None] > 0, gain_per_vote, -1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        enough = np.where(gain_per_vote > 1e-12, (limit - bets.log_weight) / gain_per_vote, np.inf).min(axis=1)
    decided = _log_sum(bets.log_weight + votes[:, None] * gain_per_vote)[0] >= limit
    votes_needed = np.where(decided, votes, enough)
    open_ = np.flatnonzero(~decided & np.isfinite(enough))
    while len(open_):
        height, share = _log_sum(bets.log_weight + votes_needed[open_, None] * gain_per_vote[open_])
        step = (height - limit) / (share * gain_per_vote[open_]).sum(axis=1)
        votes_needed[open_] -= np.maximum(step, 0)
        open_ = open_[step > 0.01]
    return np.ceil(votes_needed - votes)
