"""Fit two models in which a tie is an outcome of its own, not half a win: Davidson's and Rao and Kupper's.

With δ the log-odds between the model shown as A and the one shown as B (rᵢ − rⱼ + η; η is what standing first is
worth, 0 unless it is asked for), the chances of a win, a loss and a tie of A are
- Davidson (1970, 10.1080/01621459.1970.10481082): in proportion to e^{δ/2}, e^{−δ/2} and ν. With η this is Davidson
  and Beaver's model (1977), whose γ is e^{−η} and whose ν is √γ times ours;
- Rao and Kupper (1967, 10.1080/01621459.1967.10482901): σ(δ − κ), σ(−δ − κ) and the rest, with θ = e^κ > 1: an
  ordered logit with thresholds ±κ.

Both likelihoods are concave; Newton on counts finds the maximum. Ratings are 1000 + 400/ln 10 · r as in `fit`, but
400 points say something else in each: in Davidson's, ten wins for a loss; in Rao and Kupper's, ten times the odds of
winning rather than not; in `fit`, ten times the odds of a win, ties as half. So compare chances and orders between
them, never points. `aic` says which of the two fits the votes better.

For the maximum to be finite it is enough that wins join the models both ways and that there is a tie (the ratings
cannot run away along a circle of wins, nor the tie parameter past a tie). Where wins do not, half a win is added each
way to pairs that were compared, as in `fit`, and `is_penalised` says so. Without a tie, or with nothing but ties,
there is nothing to fit, and it is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from evaluation.ratings.bradley_terry import CENTRE, HALF_WIN, LONGEST_STEP, SCALE, Z95, Fit, NotConverged, laplacian
from evaluation.ratings.tally import Tally
from evaluation.ratings.tie_probabilities import MODELS, Terms, davidson, rao_kupper
from evaluation.ratings.vote_graph import groups, strong_groups
from evaluation.ratings.voter_clusters import Block, score_voters, summed_scores, voters_at_once, whole_voters


@dataclass(frozen=True)
class Parameter:
    """An estimate with its standard error (on the scale it was fitted on) and 95 % interval."""

    value: float
    standard_error: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Outcome:
    """The chances of one battle."""

    win: float
    tie: float
    loss: float


@dataclass(frozen=True)
class TieFit:
    """The fit of a tie model: `ratings` with intervals, differences and ranks like any fit, and the tie parameters.

    `tie` is ν or θ (its standard error is of ln ν or ln θ); `first` is what standing first is worth in rating points,
    None when it was not asked for.
    """

    model: str  # a key of MODELS
    ratings: Fit
    tie: Parameter
    first: Parameter | None
    log_likelihood: float
    parameters: int

    @property
    def aic(self) -> float:
        """Return Akaike's criterion: the lower fits better. It may be compared between fits of the same votes."""
        return 2 * self.parameters - 2 * self.log_likelihood

    @property
    def level_ties(self) -> Parameter:
        """Return the share of ties between two models of the same strength."""
        share = _level_share(self.model)
        return Parameter(share(self.tie.value), math.nan, share(self.tie.lower), share(self.tie.upper))

    def outcome(self, i: int, j: int) -> Outcome | None:
        """Return the chances of model i against model j, neither favoured by its place; None when no votes join
        them."""
        if self.ratings.group[i] != self.ratings.group[j]:
            return None
        delta = np.array((self.ratings.rating[i] - self.ratings.rating[j]) / SCALE)
        win, loss, tie = np.exp(MODELS[self.model](delta, math.log(self.tie.value)).log_chance)
        return Outcome(float(win), float(tie), float(loss))


def fit_ties(
    tally: Tally, model: str = "davidson", first: bool = False, blocks: Iterable[Block] | None = None
) -> TieFit:
    """Return the fit of `model`, with a parameter for standing first when `first`; sandwich covariance (White, 1982).

    `blocks` of the same votes, as in `clusters` and readable repeatedly, make the intervals go by voters where these
    repeat. Raises ValueError on an unknown model, without ties, with ties alone, and on bad blocks; NotConverged when
    Newton fails.
    """
    counts, added = _counts(tally, model, first), _added(tally)
    group = groups(tally.wins + tally.wins.T + tally.ties > 0)
    prior = np.stack([added / 2, added.T / 2, np.zeros_like(added)], axis=-1)
    point = _solve(counts + prior, group, MODELS[model], first)
    terms = MODELS[model](_delta(point, first), point[-1])
    size = len(tally.models)
    plain = Fit(tally, CENTRE + SCALE * point[:size], np.zeros((size, size)), group, np.asarray(added.any(axis=1)))
    squared, critical = _squared(counts, terms, first), Z95
    if blocks is not None and (voters := score_voters(plain, blocks)).repeat:
        critical = voters.critical
        if voters.voters > 1:  # of one voter alone the intervals have no end, whatever their errors
            squared = _squared_by_voters(blocks, terms, first, voters.voters)
    inverse = np.linalg.inv(_information(counts + prior, group, terms, first))
    covariance = inverse @ (squared + _squared(prior, terms, first)) @ inverse
    rating_covariance = SCALE**2 * np.where(group[:, None] == group[None, :], covariance[:size, :size], math.nan)
    error = np.sqrt(np.diagonal(covariance))
    return TieFit(
        model=model,
        ratings=replace(plain, covariance=rating_covariance, critical=critical),
        tie=_exponential(float(point[-1]), float(error[-1]), critical, least=0.0 if model == "davidson" else 1.0),
        first=_points(float(point[size]), float(error[size]), critical) if first else None,
        log_likelihood=float((counts * terms.log_chance).sum()),
        parameters=size - int(group.max() + 1) + 1 + first,
    )


def better_tie_model(tally: Tally, first: bool = False, blocks: Iterable[Block] | None = None) -> tuple[TieFit, TieFit]:
    """Return both models, the one with the lower AIC first."""
    better, worse = sorted((fit_ties(tally, model, first, blocks) for model in MODELS), key=lambda fitted: fitted.aic)
    return better, worse


def _counts(tally: Tally, model: str, first: bool) -> np.ndarray:
    """Return (M, M, 3): how often A, the row, won, lost and tied against B, the column, where A was shown first."""
    if model not in MODELS:
        raise ValueError(f"unknown tie model {model!r}: use one of {', '.join(MODELS)}.")
    cells = tally.cells
    counts = np.stack([cells[:, :, 0], cells[:, :, 1], cells[:, :, 2] + cells[:, :, 3]], axis=-1)
    won, losses, tied = counts.sum(axis=(0, 1)) if counts.size else (0, 0, 0)
    if not tied:
        raise ValueError("no vote is a tie: a model of ties has nothing to add to Bradley-Terry's ratings.")
    if not won + losses:
        raise ValueError("every vote is a tie: nothing tells the models apart, and no share of ties is too large.")
    if first and not (won and losses):
        raise ValueError("only one place ever won: what standing first is worth cannot be told from these votes.")
    return counts


def _added(tally: Tally) -> np.ndarray:
    """Return (M, M) half a win each way for the pairs that were compared and that wins do not join both ways."""
    strong, compared = strong_groups(tally.wins > 0), tally.wins + tally.wins.T + tally.ties > 0
    return HALF_WIN * (compared & (strong[:, None] != strong[None, :]))


def _solve(votes: np.ndarray, group: np.ndarray, model: Callable[..., Terms], first: bool) -> np.ndarray:
    """Return (M + first + 1,) ratings as log-odds, each group centred, then η if asked for, then the tie's
    parameter."""
    size, share = len(group), votes[..., 2].sum() / votes.sum()
    start = 2 * share / (1 - share) if model is davidson else (1 + share) / (1 - share)
    point = np.concatenate([np.zeros(size + first), [math.log(start)]])
    loss = _loss(votes, point, model, first)
    for _ in range(100):
        terms = model(_delta(point, first), point[-1])
        gradient = _gradient(votes, terms, first)
        information = _information(votes, group, terms, first)
        if first and np.linalg.cond(information) > 1e12:
            raise ValueError("each pair was shown in one order only: place and strength cannot be told apart.")
        step = np.linalg.solve(information, gradient)
        if np.abs(gradient).max() <= 1e-10 * votes.sum():  # small beside all votes, not beside a model's few
            return point + step
        step *= min(1.0, LONGEST_STEP / max(np.abs(step).max(), LONGEST_STEP))  # as in `fit`: a longer one can end flat
        point, loss = _descend(votes, group, point, loss, step, model, first)
    raise NotConverged(f"the tie model of {size} models did not converge in 100 Newton steps.")


def _descend(
    votes: np.ndarray,
    group: np.ndarray,
    point: np.ndarray,
    loss: float,
    step: np.ndarray,
    model: Callable[..., Terms],
    first: bool,
) -> tuple[np.ndarray, float]:
    """Take a Newton step, halved until the loss does not rise and θ stays above 1."""
    slack = 1e-12 * max(1.0, abs(loss))
    for _ in range(60):
        trial = point + step
        if (lower := _loss(votes, trial, model, first)) <= loss + slack:
            ratings = trial[: len(group)]
            means = np.bincount(group, weights=ratings) / np.bincount(group)
            return np.concatenate([ratings - means[group], trial[len(group) :]]), lower
        step = step / 2
    raise NotConverged("no step along Newton's direction lowers the tie model's loss.")


def _loss(votes: np.ndarray, point: np.ndarray, model: Callable[..., Terms], first: bool) -> float:
    if model is rao_kupper and point[-1] <= 0:
        return math.inf
    return -float((votes * model(_delta(point, first), point[-1]).log_chance).sum())


def _delta(point: np.ndarray, first: bool) -> np.ndarray:
    """Return (M, M) log-odds of the row, shown first, against the column."""
    ratings = point[: -1 - first]
    return ratings[:, None] - ratings[None, :] + (point[-2] if first else 0.0)


def _gradient(votes: np.ndarray, terms: Terms, first: bool) -> np.ndarray:
    by_delta = (votes * terms.by_delta).sum(axis=2)
    tie = (votes * terms.by_tie).sum()
    return np.concatenate([by_delta.sum(axis=1) - by_delta.sum(axis=0), [by_delta.sum()] if first else [], [tie]])


def _information(votes: np.ndarray, group: np.ndarray, terms: Terms, first: bool) -> np.ndarray:
    """Return minus the Hessian, made regular along each group's constant."""
    matrix = _assembled(votes, terms.by_delta_twice, terms.by_both, terms.by_tie_twice, first)
    same, size = group[:, None] == group[None, :], len(group)
    matrix[:size, :size] -= same / same.sum(axis=1)
    return -matrix


def _assembled(
    votes: np.ndarray, by_delta: np.ndarray, by_both: np.ndarray, by_tie: np.ndarray, first: bool
) -> np.ndarray:
    """Return Σ votes · [[δδ, δt], [δt, tt]] carried from (δ, t) to the parameters: δ is rᵢ − rⱼ + η."""
    delta, cross, tie = (votes * by_delta).sum(axis=2), (votes * by_both).sum(axis=2), (votes * by_tie).sum()
    rows = [cross.sum(axis=1) - cross.sum(axis=0)]
    corner = [[tie]]
    if first:
        rows = [delta.sum(axis=1) - delta.sum(axis=0), *rows]
        corner = [[delta.sum(), cross.sum()], [cross.sum(), tie]]
    across = np.stack(rows)
    return np.block([[laplacian(delta + delta.T), across.T], [across, np.array(corner)]])


def _squared(votes: np.ndarray, terms: Terms, first: bool) -> np.ndarray:
    """Return G of single votes: Σ of their squared scores."""
    return _assembled(votes, terms.by_delta**2, terms.by_delta * terms.by_tie, terms.by_tie**2, first)


def _squared_by_voters(blocks: Iterable[Block], terms: Terms, first: bool, voters: int) -> np.ndarray:
    """Return G of voters: V/(V−1) · Σ of the squares of their summed scores."""
    size = len(terms.by_delta)
    total = np.zeros((size + first + 1, size + first + 1))
    for rows in whole_voters(blocks, size):
        outcome = np.minimum(rows.label, 2)
        by_delta = rows.times * terms.by_delta[rows.a, rows.b, outcome]
        by_tie = rows.times * terms.by_tie[rows.a, rows.b, outcome]
        summands = np.stack([by_delta, by_tie] if first else [by_tie])
        for part in voters_at_once(rows.owner, len(total)):
            sums = summed_scores(rows.owner[part], rows.a[part], rows.b[part], by_delta[part], summands[:, part], size)
            total += sums.T @ sums
    return voters / (voters - 1) * total


def _exponential(log_value: float, error: float, critical: float, least: float) -> Parameter:
    low, high = (math.exp(min(log_value + side * critical * error, 700.0)) for side in (-1, 1))
    return Parameter(math.exp(log_value), error, max(least, low), high)


def _points(log_odds: float, error: float, critical: float) -> Parameter:
    """Return the effect of standing first, in rating points."""
    value, error = SCALE * log_odds, SCALE * error
    return Parameter(value, error, value - critical * error, value + critical * error)


def _level_share(model: str) -> Callable[[float], float]:
    return (lambda nu: nu / (2 + nu)) if model == "davidson" else (lambda theta: (theta - 1) / (theta + 1))
