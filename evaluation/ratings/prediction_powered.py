"""Rate models by many verdicts of a judge model and few votes of people: prediction-powered inference.

People's votes alone are unbiased and few; verdicts are many and lean. What the judge says of *all* items less what it
says of the items that people voted on has mean zero, however the judge leans, and moves with the votes as far as the
judge agrees with people. So the score of each pair of models becomes

    Σ votes  −  λ · Σ over strata  n · (mean verdict on people's items − mean verdict on all items)

and Bradley-Terry is fitted to it (PPI and PPI++: Angelopoulos et al. 2023, 2301.09633 and 2311.01453, for a convex
loss). It estimates what people's votes alone estimate, on the pairs that people voted on. A stratum is a pair of models
within a category, or within what is left of the pair where a category has fewer than FEWEST verdicts (Fisch et al.
2024, 2406.04291): there, what people were shown must be like what the judge was shown. `shift` tests that.

λ in 0 to 1 is the share of the verdicts' deviation that lowers the variance most; 0 gives people's votes alone, which
is where a judge that guesses ends. The covariance is H⁻¹VH⁻¹, V the sum of squared influences of persons and of
prompts, less that of both (Cameron, Gelbach and Miller, 2011), so that neither a person's votes nor answers to one
prompt count as independent. `effective` is how many votes of people alone would give intervals as narrow.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from common.distributions import chi_square_tail, student95
from evaluation.ratings.bradley_terry import (
    CENTRE,
    SCALE,
    Fit,
    NotConverged,
    curvature,
    fit,
    half_wins,
    laplacian,
    of_differences,
    sigmoid,
    solve,
)
from evaluation.ratings.tally import Tally

FEWEST = 5  # verdicts on items that nobody voted on, in a category of a pair: else it goes with the rest of the pair
FEWEST_PERSONS = 2.0  # effective ones, below whom votes are taken each by itself
_LARGEST = 20.0  # log-odds, beyond which there is no finite rating
_HALVINGS = 4


@dataclass(frozen=True)
class Votes:
    """People's votes (n,): `a`, `b` are places of models, `points` are A's (a tie is half), `verdict` the judge's
    points for A on the same two answers, NaN where it gave none. `person`, `prompt`, `category` are numbers."""

    a: np.ndarray
    b: np.ndarray
    points: np.ndarray
    person: np.ndarray
    prompt: np.ndarray
    category: np.ndarray
    verdict: np.ndarray


@dataclass(frozen=True)
class Verdicts:
    """The judge's points (N,) on items that none of the votes is about."""

    a: np.ndarray
    b: np.ndarray
    points: np.ndarray
    prompt: np.ndarray
    category: np.ndarray


Judged = TypeVar("Judged", Votes, Verdicts)


@dataclass(frozen=True)
class Combined:
    """The rating by both, beside that by people's votes alone with intervals of the same making.

    `weight` is λ. `effective` votes of people alone would give intervals as narrow as `votes` of them do with the
    verdicts. `shift` is the probability of verdicts that differ as much between people's items and the others, were
    they alike; None where there are no others. `is_of_few`: too few persons to cluster by, so that votes are taken each
    by itself.
    """

    people: Fit
    combined: Fit
    weight: float
    votes: int
    seen: int  # of these votes, those on items with a verdict
    verdicts: int  # on items without a vote, of pairs that people voted on
    persons: int
    effective: float
    shift: float | None
    is_of_few: bool

    @property
    def saved(self) -> float:
        return self.effective - self.votes


@dataclass(frozen=True)
class _Rows:
    """Votes, then verdicts. `slope` is by how much λ lowers a row's influence on A's score; 0 where the judge said
    nothing, or nothing else, of the stratum."""

    a: np.ndarray
    b: np.ndarray
    points: np.ndarray  # of votes, else 0
    is_vote: np.ndarray
    slope: np.ndarray
    person: np.ndarray
    prompt: np.ndarray

    def influence(self, log_odds: np.ndarray, weight: float) -> np.ndarray:
        chance = sigmoid(log_odds[self.a] - log_odds[self.b])
        return self.is_vote * (self.points - chance) - weight * self.slope

    def of_votes(self) -> _Rows:
        return _Rows(**{name: column[self.is_vote] for name, column in vars(self).items()})


def combine(models: tuple[Hashable, ...], votes: Votes, verdicts: Verdicts) -> Combined:
    """Return the ratings by votes and verdicts. Raises ValueError without votes, and for arrays of unequal lengths."""
    _check(votes, verdicts, len(models))
    votes, verdicts = _oriented(votes), _oriented(verdicts)
    tally = _tally(models, votes)
    alone = fit(tally)
    persons = _effective(votes.person)
    is_of_few = persons < FEWEST_PERSONS
    rows, used = _rows(votes, verdicts, is_of_few)
    critical = student95(max(len(votes.a) - 1, 1) if is_of_few else persons - 1)  # of a single vote, too
    doubt = 0.0 if is_of_few else 1 / persons**2
    people = _with_errors(alone, rows.of_votes(), alone.log_odds, 0.0, critical, doubt)
    weight, log_odds = _fit(alone, rows, _best_weight(alone, rows))
    combined = _with_errors(alone, rows if weight else rows.of_votes(), log_odds, weight, critical, doubt)
    wide, narrow = _spread(people), _spread(combined)
    return Combined(
        people,
        combined,
        weight,
        len(votes.a),
        int(np.isfinite(votes.verdict).sum()),
        used,
        len(np.unique(votes.person)),
        len(votes.a) * (wide / narrow if narrow > 0 else 1.0),
        _shift(alone, rows),
        is_of_few,
    )


def _check(votes: Votes, verdicts: Verdicts, size: int) -> None:
    if not len(votes.a):
        raise ValueError("there are no votes of people: verdicts alone say nothing of what people prefer.")
    for rows in (votes, verdicts):
        columns = vars(rows)
        if len({len(column) for column in columns.values()}) > 1:
            raise ValueError(f"{', '.join(columns)} must be equally long.")
        if len(rows.a) and (min(rows.a.min(), rows.b.min()) < 0 or max(rows.a.max(), rows.b.max()) >= size):
            raise ValueError(f"a and b must be places of the {size} models.")
        if np.any(rows.a == rows.b):
            raise ValueError("a model cannot be compared with itself; leave such rows out.")


def _oriented(rows: Judged) -> Judged:
    """Return the rows with the model of the lower place as A."""
    turn = rows.a > rows.b
    changed: dict[str, Any] = {"a": np.minimum(rows.a, rows.b), "b": np.maximum(rows.a, rows.b)}
    for name in ("points", "verdict"):
        if hasattr(rows, name):
            changed[name] = np.where(turn, 1 - getattr(rows, name), getattr(rows, name))
    return replace(rows, **changed)


def _tally(models: tuple[Hashable, ...], votes: Votes) -> Tally:
    """Return counts by label; a vote that is neither won nor lost is a tie."""
    size = len(models)
    label = np.where(votes.points == 1, 0, np.where(votes.points == 0, 1, 2))
    cell = (votes.a * size + votes.b) * 4 + label
    return Tally(models, np.bincount(cell, minlength=size * size * 4).reshape(size, size, 4).astype(float))


def _rows(votes: Votes, verdicts: Verdicts, is_of_few: bool) -> tuple[_Rows, int]:
    """Return the rows with their slopes, and how many verdicts on other items have one."""
    judged = np.isfinite(votes.verdict)
    stratum = _strata(votes, verdicts, judged)
    in_votes, in_others = stratum[: len(votes.a)], stratum[len(votes.a) :]
    size = int(stratum.max(initial=-1)) + 1
    said = np.where(judged, votes.verdict, 0.0)
    seen, others = np.bincount(in_votes[judged], minlength=size), np.bincount(in_others, minlength=size)
    total = np.bincount(in_votes, said, size) + np.bincount(in_others, verdicts.points, size)
    mean = total / np.maximum(seen + others, 1)
    share = others / np.maximum(seen + others, 1)  # of the stratum's items that people have not seen
    slope_of_votes = np.where(judged, share[in_votes] * (said - mean[in_votes]), 0.0)
    slope_of_others = -(seen / np.maximum(seen + others, 1))[in_others] * (verdicts.points - mean[in_others])
    owner = np.arange(len(votes.a)) if is_of_few else _numbered(votes.person)
    prompt = _numbered(np.concatenate([votes.prompt, verdicts.prompt]))
    rows = _Rows(
        a=np.concatenate([votes.a, verdicts.a]),
        b=np.concatenate([votes.b, verdicts.b]),
        points=np.concatenate([votes.points, np.zeros(len(verdicts.a))]),
        is_vote=np.arange(len(votes.a) + len(verdicts.a)) < len(votes.a),
        slope=np.concatenate([slope_of_votes, slope_of_others]),
        # The judge is nobody in particular: its verdicts hang together by their prompts alone.
        person=np.concatenate([owner, owner.max() + 1 + prompt[len(votes.a) :]]),
        prompt=prompt,
    )
    return rows, int(others[seen > 0].sum())


def _strata(votes: Votes, verdicts: Verdicts, judged: np.ndarray) -> np.ndarray:
    """Return (n + N,) stratum of each vote and verdict: pair and category, or pair and the rest of its categories."""
    a, b = np.concatenate([votes.a, verdicts.a]), np.concatenate([votes.b, verdicts.b])
    pair = _numbered(a * (int(b.max()) + 1) + b)
    category = _numbered(np.concatenate([votes.category, verdicts.category]))
    fine = _numbered(pair * (int(category.max()) + 1) + category)
    others = np.bincount(fine[len(votes.a) :], minlength=int(fine.max()) + 1)
    return _numbered(np.where(others[fine] >= FEWEST, fine, int(fine.max()) + 1 + pair))


def _best_weight(alone: Fit, rows: _Rows) -> float:
    """Return λ in 0 to 1: the regression of people's influence on the verdicts', in the metric of the ratings.

    By single rows and not by persons: any λ is valid, and this one is the less noisy.
    """
    inverse = _inverse(alone)
    metric = of_differences(inverse @ inverse)[rows.a, rows.b]  # of a squared influence in the ratings' variances
    spread = float((metric * rows.slope**2).sum())
    if spread <= 0:
        return 0.0
    return float(np.clip((metric * rows.influence(alone.log_odds, 0.0) * rows.slope).sum() / spread, 0.0, 1.0))


def _fit(alone: Fit, rows: _Rows, weight: float) -> tuple[float, np.ndarray]:
    """Return λ and the ratings; a smaller λ where the corrected scores allow no finite ratings."""
    for _ in range(_HALVINGS if weight else 0):
        try:
            log_odds = _solve(alone, rows, weight)
        except (NotConverged, np.linalg.LinAlgError):
            log_odds = np.full(len(alone.models), math.inf)
        if np.abs(log_odds).max() < _LARGEST:
            return weight, log_odds
        weight /= 2
    return 0.0, alone.log_odds


def _solve(alone: Fit, rows: _Rows, weight: float) -> np.ndarray:
    scores, log_odds = _scores(alone), np.zeros(len(alone.models))
    np.add.at(scores, (rows.a, rows.b), -weight * rows.slope)
    np.add.at(scores, (rows.b, rows.a), weight * rows.slope)
    for number in range(int(alone.group.max()) + 1):
        members = np.flatnonzero(alone.group == number)
        log_odds[members] = solve(scores[np.ix_(members, members)], alone.log_odds[members])
    return log_odds


def _scores(alone: Fit) -> np.ndarray:
    """Return (M, M) what people's votes give each model against each other, as they are fitted alone."""
    scores = alone.tally.wins + alone.tally.ties / 2
    return scores + half_wins(scores)


def _inverse(alone: Fit, log_odds: np.ndarray | None = None) -> np.ndarray:
    """Return (M, M) the inverse of the Hessian, zero across groups."""
    at = alone.log_odds if log_odds is None else log_odds
    scores, inverse = _scores(alone), np.zeros((len(at), len(at)))
    for number in range(int(alone.group.max()) + 1):
        members = np.flatnonzero(alone.group == number)
        block = np.ix_(members, members)
        chance = sigmoid(at[members, None] - at[None, members])
        hessian = curvature((scores + scores.T)[block], chance) + 1 / len(members)
        inverse[block] = np.linalg.inv(hessian) - 1 / len(members)
    return inverse


def _with_errors(alone: Fit, rows: _Rows, log_odds: np.ndarray, weight: float, critical: float, doubt: float) -> Fit:
    """Return the fit at these log-odds. `doubt` of the variance by single rows is added: a few persons may agree to the
    vote, as in `voter_clusters.clustered`."""
    inverse, size = _inverse(alone, log_odds), len(log_odds)
    added = half_wins(alone.tally.wins + alone.tally.ties / 2)
    chance = sigmoid(log_odds[:, None] - log_odds[None, :])
    prior = laplacian(added * (1 - chance) ** 2 + added.T * chance**2)
    influence = rows.influence(log_odds, weight)
    middle = _two_way(rows, influence, size, inverse) + doubt * _by_rows(rows.a, rows.b, influence, size) + prior
    covariance = SCALE**2 * inverse @ middle @ inverse
    covariance[alone.group[:, None] != alone.group[None, :]] = np.nan
    return replace(alone, rating=CENTRE + SCALE * log_odds, covariance=covariance, critical=critical)


def _two_way(rows: _Rows, influence: np.ndarray, size: int, inverse: np.ndarray) -> np.ndarray:
    """Return (M, M) the variance of summed influences by persons and prompts; never below that by persons, by the
    trace of the ratings' covariance. Persons are few where verdicts are many, and each are groups of their own."""
    both = _numbered(rows.person * (int(rows.prompt.max()) + 1) + rows.prompt)
    kinds = [kind for kind in (rows.is_vote, ~rows.is_vote) if kind.any()]
    by_person, by_both = (
        sum((_one_way(rows, influence, owner, size, kind) for kind in kinds), np.zeros((size, size)))
        for owner in (rows.person, both)
    )
    by_prompt = _one_way(rows, influence, rows.prompt, size, np.ones(len(both), dtype=bool))
    ways = (by_person, by_person + by_prompt - by_both)
    return max(ways, key=lambda way: float(np.trace(inverse @ way @ inverse)))


def _one_way(rows: _Rows, influence: np.ndarray, owner: np.ndarray, size: int, chosen: np.ndarray) -> np.ndarray:
    """Return G/(G − 1) · Σ over owners of s sᵀ, of the chosen rows; owners of one row are summed by pairs, which costs
    nothing each."""
    a, b, influence, owner = (column[chosen] for column in (rows.a, rows.b, influence, owner))
    count = np.bincount(owner)
    alone = count[owner] == 1
    squared = _by_rows(a[alone], b[alone], influence[alone], size)
    if not alone.all():
        shared = _numbered(owner[~alone])
        sums = np.zeros((int(shared.max()) + 1, size))
        np.add.at(sums, (shared, a[~alone]), influence[~alone])
        np.add.at(sums, (shared, b[~alone]), -influence[~alone])
        squared = squared + sums.T @ sums
    groups = int((count > 0).sum())
    return squared * groups / max(groups - 1, 1)


def _by_rows(a: np.ndarray, b: np.ndarray, influence: np.ndarray, size: int) -> np.ndarray:
    """Return (M, M) Σ s sᵀ, each row by itself."""
    single = np.bincount(a * size + b, influence**2, size * size).reshape(size, size)
    return laplacian(single + single.T)


def _shift(alone: Fit, rows: _Rows) -> float | None:
    """Return the probability, were people's items like the others, of verdicts that pull the ratings apart as far."""
    if not np.any(rows.slope):
        return None
    size, inverse = len(alone.models), _inverse(alone)
    pull = np.bincount(rows.a, rows.slope, size) - np.bincount(rows.b, rows.slope, size)
    variance = inverse @ _two_way(rows, rows.slope, size, inverse) @ inverse
    moved = inverse @ pull
    eigenvalues = np.linalg.eigvalsh(variance)
    degrees = int((eigenvalues > 1e-9 * eigenvalues.max()).sum())
    return chi_square_tail(float(moved @ np.linalg.pinv(variance, 1e-9, hermitian=True) @ moved), degrees)


def _spread(fitted: Fit) -> float:
    """Return the sum of the variances, by which two fits of the same models are compared."""
    return float(np.nansum(np.diagonal(fitted.covariance)))


def _effective(person: np.ndarray) -> float:
    """Return how many persons with equally many votes would leave one as unsure (Kish, 1965)."""
    counts = np.bincount(_numbered(person))
    return float(counts.sum() ** 2 / (counts**2).sum())


def _numbered(labels: np.ndarray) -> np.ndarray:
    return np.unique(labels, return_inverse=True)[1].ravel()
