"""Test whether one number per model describes the votes: expected against observed for each pair, and cycles.

Bradley-Terry gives the mean score of a pair and says nothing of ties, yet a tie is less spread than a coin's two sides.
So ties are taken to replace a share κ of the underdog's coin: with q the underdog's mean score, it wins (1 − κ)·q,
ties 2κ·q, and the variance of one score is q·(1 − q − κ/2). κ is the arena's own, one number for all pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from common.distributions import Z95, chi_square_tail
from evaluation.ratings.bradley_terry import Fit, laplacian, of_differences, sigmoid
from evaluation.ratings.tally import Tally

SURE = Z95  # of a direct majority, in standard deviations
FEW = 32  # votes of a pair up to which who leads is counted out


@dataclass(frozen=True)
class Residuals:
    """Arrays (M, M), the row's model against the column's; NaN where the two never met.

    `residual` is the observed less the expected score in its own standard deviations, allowing for the ratings having
    been fitted to it; NaN too where they were fitted to nothing else (a pair that alone joins two models).
    `chi_square` with `degrees` tests all pairs at once; `p_value` is None where there are no more pairs than ratings.
    """

    played: np.ndarray
    observed: np.ndarray
    expected: np.ndarray
    residual: np.ndarray
    chi_square: float
    degrees: int
    p_value: float | None
    is_sparse: bool  # fewer than five votes on half of the pairs: the p value is rough


@dataclass(frozen=True)
class Cycle:
    """Each of `models` (indices) beats the next, and the last the first; `weakest` majority in standard deviations."""

    models: tuple[int, int, int]
    weakest: float

    @property
    def is_sure(self) -> bool:
        return self.weakest >= SURE


@dataclass(frozen=True)
class Cycles:
    """Count the triples of models that beat each other in a circle, and those that chance gives if the ratings are
    right.

    `p_value`: how often votes simulated from the fit show as many. `listed` has the surest ones first.
    """

    count: int
    sure: int
    expected: float
    p_value: float
    listed: tuple[Cycle, ...]


def expected_scores(fitted: Fit) -> np.ndarray:
    """Return (M, M) mean score of the row against the column, a tie as half; NaN where no votes join the two."""
    chance = sigmoid(fitted.log_odds[:, None] - fitted.log_odds[None, :])
    return np.where(fitted.group[:, None] == fitted.group[None, :], chance, np.nan)


def tie_share(tally: Tally, expected: np.ndarray) -> float:
    """Return κ, between 0 and 1: as many ties as were seen, spread over the pairs as the module says."""
    played = tally.wins + tally.wins.T + tally.ties
    room = np.nansum(played * 2 * np.minimum(expected, 1 - expected))
    return min(1.0, float(tally.ties.sum() / room)) if room else 0.0


def residuals(fitted: Fit) -> Residuals:
    """Return expected and observed scores of every pair, the standardised residuals, and one test for all."""
    tally, expected = fitted.tally, expected_scores(fitted)
    wins, ties = tally.wins, tally.ties
    played = wins + wins.T + ties
    has_votes = played > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        observed = (wins + ties / 2) / played
        surplus = played * (observed - expected)
        spread = played * _variance(expected, tie_share(tally, expected))
        own_variance = _own_spread(played, expected, spread, fitted.group)
        standard = np.where(has_votes & (own_variance > 1e-6 * spread), surplus / np.sqrt(own_variance), np.nan)
        chi_square = float(np.nansum(np.triu(np.where(has_votes, surplus**2 / spread, 0), 1)))
    pairs = int(np.triu(has_votes, 1).sum())
    degrees = pairs - (len(wins) - len(np.unique(fitted.group)))
    p_value = chi_square_tail(chi_square, degrees) if degrees > 0 else None
    sparse = bool(pairs) and bool(np.median(played[np.triu(has_votes, 1)]) < 5)
    expected = np.where(has_votes, expected, np.nan)
    return Residuals(played, observed, expected, standard, chi_square, degrees, p_value, sparse)


def cycles(fitted: Fit, draws: int = 100, seed: int = 0, listed: int = 10) -> Cycles:
    """Return the triples of models that beat each other in a circle, and whether there are more than chance
    explains."""
    lead = _leads(fitted.tally.wins)
    cycles = _surest(lead, listed)
    count, sure = _count(lead > 0), _count(lead >= SURE)
    chance = _counts_by_chance(fitted, draws, seed)
    p_value = (1 + int((chance >= count).sum())) / (1 + draws)
    return Cycles(count, sure, float(chance.mean()), p_value, cycles)


def _variance(expected: np.ndarray, kappa: float) -> np.ndarray:
    under = np.minimum(expected, 1 - expected)
    return under * (1 - under - kappa / 2)


def _own_spread(played: np.ndarray, expected: np.ndarray, spread: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return (M, M) the variance of the surplus, smaller than `spread` by what the fit took up.

    With surplus = (I − N)ε and N = diag(nh)·X·H⁻¹·Xᵀ, its diagonal is s − 2s·nh·xᵀH⁻¹x + (nh)²·xᵀH⁻¹GH⁻¹x.
    """
    weight, noise = (np.where(played > 0, x, 0) for x in (played * expected * (1 - expected), spread))
    same = group[:, None] == group[None, :]
    inverse = np.linalg.inv(laplacian(weight) + same / same.sum(axis=1))
    sandwich = inverse @ laplacian(noise) @ inverse
    return noise * (1 - 2 * weight * of_differences(inverse)) + weight**2 * of_differences(sandwich)


def _leads(wins: np.ndarray) -> np.ndarray:
    """Return (M, M) lead of the row in decisive votes, in standard deviations of a fair coin; 0 where level or
    behind."""
    decisive = np.maximum(wins + wins.T, 1)
    return np.maximum(wins - wins.T, 0) / np.sqrt(decisive)


def _count(beats: np.ndarray) -> int:
    """Return the number of circles of three: for each k that beats i, whom i beats and who beats k. In bits, 64 models
    at once."""
    beaten, beaters = _bits(beats), _bits(beats.T)
    k, i = np.nonzero(beats)
    return int(np.bitwise_count(beaten[i] & beaters[k]).sum()) // 3


def _bits(rows: np.ndarray) -> np.ndarray:
    """Return (M, M/64) the rows of booleans, packed."""
    size = len(rows)
    padded = np.zeros((size, -(-size // 64) * 64), dtype=bool)
    padded[:, :size] = rows
    return np.packbits(padded, axis=1).view(np.uint64)


def _surest(lead: np.ndarray, listed: int) -> tuple[Cycle, ...]:
    """Return the circles with the largest weakest majority, each once; one model's triples at a time, so that memory
    stays M²."""
    cycles: list[Cycle] = []
    for i in range(len(lead)):
        weakest = np.minimum(np.minimum(lead[i][:, None], lead), lead[:, i][None, :])  # i > j > k > i
        weakest[: i + 1], weakest[:, : i + 1] = 0, 0
        circles = np.flatnonzero(weakest > 0)
        top = circles[np.argsort(-weakest.ravel()[circles], kind="stable")[:listed]]
        cycles += [Cycle((i, *divmod(int(flat), len(lead))), float(weakest.ravel()[flat])) for flat in top]
    return tuple(sorted(cycles, key=lambda cycle: -cycle.weakest)[:listed])


def _counts_by_chance(fitted: Fit, draws: int, seed: int) -> np.ndarray:
    """Return (draws,) circles in votes of as many per pair, were the ratings true; only who leads each pair is
    drawn."""
    random, size = np.random.default_rng(seed), len(fitted.models)
    expected = expected_scores(fitted)
    played = fitted.tally.wins + fitted.tally.wins.T + fitted.tally.ties
    row, column = np.nonzero(np.triu(played, 1))
    p = expected[row, column]
    ties = 2 * tie_share(fitted.tally, expected) * np.minimum(p, 1 - p)
    ahead, chance_behind = majority_chances(np.round(played[row, column]), p, ties)
    counts = np.zeros(draws, dtype=int)
    for draw in range(draws):
        uniform = random.random(len(row))
        beats = np.zeros((size, size), dtype=bool)
        beats[row, column], beats[column, row] = uniform < ahead, uniform >= 1 - chance_behind
        counts[draw] = _count(beats)
    return counts


def majority_chances(votes: np.ndarray, mean: np.ndarray, ties: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (P,) chances that more of `votes` are won than lost, and that fewer are; the rest is level.

    Exact up to FEW votes, by the discrete Fourier transform of the lead of one vote to their power; beyond that by the
    normal distribution, half a step from a level result (without ties the lead moves in steps of two).
    """
    win, loss = mean - ties / 2, 1 - mean - ties / 2
    ahead, loses = np.zeros(len(votes)), np.zeros(len(votes))
    is_few = votes <= FEW
    turn = np.exp(2j * np.pi * np.arange(4 * FEW) / (4 * FEW))
    transform = ties[is_few, None] + win[is_few, None] * turn + loss[is_few, None] / turn
    chance = np.fft.fft(transform ** votes[is_few, None], axis=1).real / (4 * FEW)
    ahead[is_few], loses[is_few] = chance[:, 1 : FEW + 1].sum(axis=1), chance[:, -FEW:].sum(axis=1)
    middle = votes * (win - loss)
    spread = np.sqrt(np.maximum(votes * (win + loss - (win - loss) ** 2), 1e-12))
    edge = np.where(ties > 0, 0.5, (votes + 1) % 2)
    for side, shift in ((ahead, middle), (loses, -middle)):
        tails = ((edge - shift) / spread)[~is_few] / np.sqrt(2)
        side[~is_few] = [0.5 * math.erfc(x) for x in tails]
    return ahead, loses
