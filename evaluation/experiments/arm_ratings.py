"""Rate arms whose models differ by their seed: the mean of an arm's models, with the spread over seeds in its interval.

A model's rating is θ = μ of its arm + a seed's effect u ~ N(0, τ²), and the votes estimate θ with covariance V (M, M).
What is said of arms is a combination cᵀθ̂; over new votes and new seeds its error is cᵀ(e + u), with e ~ N(0, V).

τ² is one for all arms. The mean square of ratings within arms, s² of ν = Σ(seeds − 1) degrees of freedom, is about
(τ² + v)·χ²_ν/ν, where v is what V alone makes of it. So what s² leaves possible is drawn, τ² = max(0, s²·ν/χ²_ν − v),
and V likewise by the effective voters less one: a generalised pivotal quantity (Weerahandi, 1993). Intervals are
quantiles of errors so drawn, with a seed of their own: the same votes give the same intervals. numpy only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

DRAWS = 20_000


@dataclass(frozen=True)
class SeedSpread:
    """What the ratings within arms say of seeds, in squared points: `square` is their mean square, `noise` what votes
    alone make of it; `freedom` the degrees of freedom, 0 where no arm has two models."""

    square: float
    noise: float
    freedom: int

    @property
    def deviation(self) -> float:
        """Return the standard deviation between seeds, by the method of moments."""
        return math.sqrt(self.between)

    @property
    def between(self) -> float:
        """Return the variance between seeds, by the method of moments."""
        return max(0.0, self.square - self.noise)

    def with_votes(self, times: float) -> SeedSpread:
        """Return the spread that is to be expected with so many times the votes; by endless ones there is no noise."""
        noise = self.noise / times
        return SeedSpread(self.between + noise, noise, self.freedom)


@dataclass(frozen=True)
class Combinations:
    """Combinations of ratings: `value` (K,), and `errors` (D, K) as they may come over new votes and new seeds."""

    value: np.ndarray
    errors: np.ndarray

    @cached_property
    def reach(self) -> np.ndarray:
        """Return (K,) the half width of a 95 % interval of each by itself, found once."""
        return np.quantile(np.abs(self.errors), 0.95, axis=0)


def seed_spread(rating: np.ndarray, covariance: np.ndarray, arm: np.ndarray, is_seeded: np.ndarray) -> SeedSpread:
    """Return the spread over seeds of all arms with two models or more.

    `arm` (M,) is the arm of each model, `is_seeded` (M,) whether a seed decides how the model came out.
    """
    total = noise = 0.0
    freedom = 0
    for members in (np.flatnonzero((arm == one) & is_seeded) for one in np.unique(arm)):
        if len(members) < 2:
            continue
        centring = np.eye(len(members)) - 1 / len(members)
        total += float(((rating[members] - rating[members].mean()) ** 2).sum())
        noise += float(np.trace(centring @ covariance[np.ix_(members, members)]))
        freedom += len(members) - 1
    return SeedSpread(total / freedom, noise / freedom, freedom) if freedom else SeedSpread(0.0, 0.0, 0)


def combine(
    weights: np.ndarray,
    rating: np.ndarray,
    covariance: np.ndarray,
    is_seeded: np.ndarray,
    spread: SeedSpread,
    voters: float = math.inf,
    draws: int = DRAWS,
) -> Combinations:
    """Return `weights` (K, M) of the ratings (M,), each with its errors. `voters` are the effective ones, where some
    voted more than once."""
    random = np.random.default_rng(0)
    values, vectors = np.linalg.eigh(weights @ covariance @ weights.T)
    by_votes = random.standard_normal((draws, len(weights))) @ (vectors * np.sqrt(np.maximum(values, 0))).T
    by_votes *= np.sqrt(_inverse_squares(voters - 1, draws, random))[:, None]
    between = np.maximum(0.0, spread.square * _inverse_squares(spread.freedom, draws, random) - spread.noise)
    effects = random.standard_normal((draws, len(rating))) * np.sqrt(between)[:, None]
    return Combinations(weights @ rating, by_votes + effects @ (weights * is_seeded).T)


def _inverse_squares(freedom: float, draws: int, random: np.random.Generator) -> np.ndarray:
    """Return (draws,) of ν/χ²_ν; ones where nothing was estimated."""
    if not freedom or math.isinf(freedom):
        return np.ones(draws)
    return max(freedom, 1.0) / random.chisquare(max(freedom, 1.0), draws)


def arm_means(arm: np.ndarray, arms: int) -> np.ndarray:
    """Return (A, M) the weights by which models make the mean of each arm; 0 for an arm without a model."""
    member = arm[None, :] == np.arange(arms)[:, None]
    return member / np.maximum(member.sum(axis=1, keepdims=True), 1)
