"""Find voters whose votes honest voters would not give: bots, people who press one button, votes for one model.

A voter is compared with what *all others* say: the fit without their votes, r − H⁻¹s with s the sum of their scores
(a refit for those who cast much of a board). For each suspicion a gambler bets on it: where an honest voter's mean
score is at most m, the wealth, multiplied vote by vote by

    (1 − y + y·e^θ) / (1 − m + m·e^θ)

gains nothing on average, and reaches 1/α with probability at most α at any look (Ville, 1939; see `sequence`). Scores
count a tie or both-bad as half, as the fit does, and the bound holds however often a voter ties: a test that asks how
rare each answer was finds every tie a surprise, and honest voters with it.

Honest people differ, and m leaves room for it: those three quarters as discerning as the crowd are honest; so are those
who like one model `taste` more than others do or the first answer `lean` more; and a standard error of what others say
is theirs too. Without that room most of the honest voters flagged are people with a taste;
`benchmarks/calibration.py` counts both. The wealths are averaged, so that all suspicions together flag at most α of the
honest. A flag is a reason to look, with its reason in words, and never by itself a reason to leave votes out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.ratings.bradley_terry import SCALE, Fit, fit, half_wins, laplacian, sigmoid
from evaluation.ratings.tally import Tally
from evaluation.ratings.voter_clusters import SCORE, Block
from evaluation.vote_integrity.vote_wagers import Honest, Suspicion, Votes, describe, suspicion_of_haste, suspicions_of

ALPHA = 0.01
LARGE = 0.02  # share of all votes from which a voter's influence is refitted, not taken to first order
ALONE = 0.5  # share of a model's battles from which nobody else says enough about it
WEIGHTS = {"against": 0.3, "first": 0.15, "second": 0.1, "model": 0.25, "ties": 0.1, "pace": 0.1}
HONEST = Honest()


@dataclass(frozen=True)
class Voter:
    """All evidence about one voter: `log_e` of the average wealth, flagged at log(1/alpha), and the reason in words."""

    voter: int
    votes: int
    log_e: float
    is_flagged: bool
    strongest: Suspicion
    reason: str


def detect_voters(
    fitted: Fit,
    blocks: Sequence[Block],
    *,
    pace: Mapping[int, tuple[int, int]] | None = None,
    honest: Honest = HONEST,
    alpha: float = ALPHA,
    name: Callable[[Any], str] = str,
) -> list[Voter]:
    """Return every voter of `blocks`, the votes of the fit; most suspicious first.

    `pace` has (votes within HASTY_SECONDS of the one before, gaps) of voters; `name` tells a model of the fit in words.
    Raises ValueError when the votes are not those of the fit, or on a bad alpha.
    """
    return _flag_voters(fitted, *_leave_one_out(fitted, blocks), pace, honest, alpha, name)


def detect_visitors(
    fitted: Fit,
    blocks: Sequence[Block],
    *,
    honest: Honest = HONEST,
    alpha: float = ALPHA,
    name: Callable[[Any], str] = str,
) -> list[Voter]:
    """Return the voters of held votes (none of which is in the fit) whose votes are still unlike all others."""
    voter, a, b, label, count = (np.concatenate(column) for column in zip(*blocks, strict=True))
    names, owner = np.unique(voter, return_inverse=True)
    odds = fitted.log_odds[a] - fitted.log_odds[b]
    is_comparable = fitted.group[a] == fitted.group[b]
    vote_counts = np.bincount(owner, weights=count, minlength=len(names))
    columns = (owner, a, b, label, count, odds, _error(fitted, a, b))
    return _flag_voters(
        fitted, names, vote_counts, Votes(*(x[is_comparable] for x in columns)), None, honest, alpha, name
    )


def _flag_voters(
    fitted: Fit,
    names: np.ndarray,
    vote_counts: np.ndarray,
    votes: Votes,
    pace: Mapping[int, tuple[int, int]] | None,
    honest: Honest,
    alpha: float,
    name: Callable[[Any], str],
) -> list[Voter]:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is the share of honest voters that may be flagged, between 0 and 1: got {alpha}.")
    kinds = suspicions_of(fitted, votes, len(names), honest)
    if pace is not None:
        kinds["pace"] = [suspicion_of_haste(*pace.get(int(voter), (0, 0))) for voter in names]
    total, voters = sum(WEIGHTS[kind] for kind in kinds), []
    for k, voter in enumerate(names):
        weighted = [(math.log(WEIGHTS[kind] / total) + of[k].log_e, of[k]) for kind, of in kinds.items()]
        log_e = float(np.logaddexp.reduce([value for value, _ in weighted]))
        strongest = max(weighted, key=lambda pair: pair[0])[1]
        reason = describe(strongest, fitted, name)
        voters.append(Voter(int(voter), int(vote_counts[k]), log_e, log_e >= math.log(1 / alpha), strongest, reason))
    return sorted(voters, key=lambda one: -one.log_e)


def _leave_one_out(fitted: Fit, blocks: Sequence[Block]) -> tuple[np.ndarray, np.ndarray, Votes]:
    """Return voters' names, how many votes each gave, and the votes with the ratings by all other voters, where these
    exist."""
    voter, a, b, label, count = (np.concatenate(column) for column in zip(*blocks, strict=True))
    if count.sum() != fitted.tally.votes:
        raise ValueError(f"the fit is of {fitted.tally.votes} votes and these are {count.sum()}: give the same votes.")
    names, owner = np.unique(voter, return_inverse=True)
    size, voters = len(fitted.models), len(names)
    shift = _own_influence(fitted, owner, a, b, label, count, voters)
    odds = (fitted.log_odds[a] - shift[owner, a]) - (fitted.log_odds[b] - shift[owner, b])
    votes_by_model = np.zeros((voters, size))
    np.add.at(votes_by_model, (owner, a), count)
    np.add.at(votes_by_model, (owner, b), count)
    share = votes_by_model / np.maximum(fitted.tally.battles, 1)
    largest_share = np.maximum(share[owner, a], share[owner, b])
    is_comparable = (largest_share < ALONE) & np.isfinite(odds)
    error = _error(fitted, a, b) / np.sqrt(np.maximum(1 - largest_share, 1 - ALONE))
    vote_counts = np.bincount(owner, weights=count, minlength=voters)
    return names, vote_counts, Votes(*(x[is_comparable] for x in (owner, a, b, label, count, odds, error)))


def _error(fitted: Fit, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return standard errors of differences, in log-odds."""
    variance = np.diagonal(fitted.covariance)
    return np.sqrt(np.maximum(variance[a] + variance[b] - 2 * fitted.covariance[a, b], 0)) / SCALE


def _own_influence(
    fitted: Fit, owner: np.ndarray, a: np.ndarray, b: np.ndarray, label: np.ndarray, count: np.ndarray, voters: int
) -> np.ndarray:
    """Return (V, M): by how much each voter's own votes raise the log-odds; NaN where models are unconnected without
    them."""
    wins, ties = fitted.tally.wins, fitted.tally.ties
    chance = sigmoid(fitted.log_odds[:, None] - fitted.log_odds[None, :])
    scores = wins + ties / 2
    played = scores + scores.T + 2 * half_wins(scores)
    same = fitted.group[:, None] == fitted.group[None, :]
    inverse = np.linalg.inv(laplacian(played * chance * (1 - chance)) + same / same.sum(axis=1))
    surplus = count * (SCORE[label] - chance[a, b])
    summed = np.zeros((voters, len(fitted.models)))
    np.add.at(summed, (owner, a), surplus)
    np.add.at(summed, (owner, b), -surplus)
    shift = summed @ inverse
    vote_counts = np.bincount(owner, weights=count, minlength=voters)
    for voter in np.flatnonzero(vote_counts > LARGE * fitted.tally.votes):
        is_own = owner == voter
        shift[voter] = fitted.log_odds - _refit_without(fitted, a[is_own], b[is_own], label[is_own], count[is_own])
    return shift


def _refit_without(fitted: Fit, a: np.ndarray, b: np.ndarray, label: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return (M,) log-odds refitted without these votes; NaN for models that are then in other parts than the
    first's."""
    cells = fitted.tally.cells.copy()
    np.subtract.at(cells, (a, b, label), count)
    if not cells.any():
        return np.full(len(fitted.models), np.nan)
    refitted = fit(Tally(fitted.models, cells))
    return np.where(refitted.group == 0, refitted.log_odds, np.nan)
