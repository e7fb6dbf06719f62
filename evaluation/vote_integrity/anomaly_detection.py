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
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from evaluation.ratings.bradley_terry import SCALE, Fit, fit, half_wins, laplacian, sigmoid
from evaluation.ratings.confidence_sequence import log_e_above
from evaluation.ratings.exposure import position
from evaluation.ratings.tally import LABELS, Tally
from evaluation.ratings.voter_clusters import SCORE, Block

ALPHA = 0.01
TILTS = np.geomspace(0.1, 8.0, 7)
LARGE = 0.02  # share of all votes from which a voter's influence is refitted, not taken to first order
ALONE = 0.5  # share of a model's battles from which nobody else says enough about it
HASTY_SECONDS, HASTY_SHARE = 3.0, 0.1  # so fast, an honest voter votes at most this often
WEIGHTS = {"against": 0.3, "first": 0.15, "second": 0.1, "model": 0.25, "ties": 0.1, "pace": 0.1}


@dataclass(frozen=True)
class Honest:
    """What is allowed to honest voters beyond the crowd's own opinion, in log-odds but for the first."""

    discernment: float = 0.75  # of the crowd's log-odds
    taste: float = 0.8
    lean: float = 0.5
    errors: float = 1.0  # standard errors of the others' opinion that are the voter's too


HONEST = Honest()


@dataclass(frozen=True)
class Suspicion:
    """One kind of dishonest voting: `log_e` is the evidence; `observed` of `votes` where other voters would have
    `expected`."""

    kind: str
    log_e: float
    observed: float
    expected: float
    votes: float
    model: Any = None
    favours: bool = True


@dataclass(frozen=True)
class Voter:
    """All evidence about one voter: `log_e` of the average wealth, flagged at log(1/alpha), and the reason in words."""

    voter: int
    votes: int
    log_e: float
    is_flagged: bool
    strongest: Suspicion
    reason: str


@dataclass(frozen=True)
class _Votes:
    """Rows of votes, `owner` numbering voters 0…V−1, with what others expect of A: log-odds and their error."""

    owner: np.ndarray
    a: np.ndarray
    b: np.ndarray
    label: np.ndarray
    count: np.ndarray
    odds: np.ndarray
    error: np.ndarray


@dataclass(frozen=True)
class _Wager:
    """Rows (n,) that are bet on: `key` numbers the voter, `score` is suspicious when it is too high, `most` bounds an
    honest one."""

    key: np.ndarray
    score: np.ndarray
    most: np.ndarray
    count: np.ndarray
    expected: np.ndarray


def detect_voters(
    fitted: Fit,
    blocks: Sequence[Block],
    *,
    pace: Mapping[int, tuple[int, int]] | None = None,
    honest: Honest = HONEST,
    alpha: float = ALPHA,
    name: Callable[[Any], str] = str,
) -> list[Voter]:
    """Every voter of `blocks`, the votes of the fit; most suspicious first.

    `pace` has (hasty votes, gaps) of voters, by `hasty_votes`; `name` tells a model of the fit in words. Raises
    ValueError when the votes are not those of the fit, or on a bad alpha.
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
        fitted, names, vote_counts, _Votes(*(x[is_comparable] for x in columns)), None, honest, alpha, name
    )


def _flag_voters(
    fitted: Fit,
    names: np.ndarray,
    vote_counts: np.ndarray,
    votes: _Votes,
    pace: Mapping[int, tuple[int, int]] | None,
    honest: Honest,
    alpha: float,
    name: Callable[[Any], str],
) -> list[Voter]:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is the share of honest voters that may be flagged, between 0 and 1: got {alpha}.")
    kinds = _suspicions(fitted, votes, len(names), honest)
    if pace is not None:
        kinds["pace"] = [_pace(*pace.get(int(voter), (0, 0))) for voter in names]
    total, voters = sum(WEIGHTS[kind] for kind in kinds), []
    for k, voter in enumerate(names):
        weighted = [(math.log(WEIGHTS[kind] / total) + of[k].log_e, of[k]) for kind, of in kinds.items()]
        log_e = float(np.logaddexp.reduce([value for value, _ in weighted]))
        strongest = max(weighted, key=lambda pair: pair[0])[1]
        reason = _describe(strongest, fitted, name)
        voters.append(Voter(int(voter), int(vote_counts[k]), log_e, log_e >= math.log(1 / alpha), strongest, reason))
    return sorted(voters, key=lambda one: -one.log_e)


def hasty_votes(times: np.ndarray) -> tuple[int, int]:
    """(votes within HASTY_SECONDS of the one before, gaps) from a voter's times in seconds, in order."""
    gaps = np.diff(times)
    return int((gaps < HASTY_SECONDS).sum()), len(gaps)


def _leave_one_out(fitted: Fit, blocks: Sequence[Block]) -> tuple[np.ndarray, np.ndarray, _Votes]:
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
    return names, vote_counts, _Votes(*(x[is_comparable] for x in (owner, a, b, label, count, odds, error)))


def _error(fitted: Fit, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Standard errors of differences, in log-odds."""
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
    """(M,) log-odds refitted without these votes; NaN for models that are then in other parts than the first's."""
    cells = fitted.tally.cells.copy()
    np.subtract.at(cells, (a, b, label), count)
    if not cells.any():
        return np.full(len(fitted.models), np.nan)
    refitted = fit(Tally(fitted.models, cells))
    return np.where(refitted.group == 0, refitted.log_odds, np.nan)


def _suspicions(fitted: Fit, votes: _Votes, voters: int, honest: Honest) -> dict[str, list[Suspicion]]:
    """Return the suspicions of each kind, one for each voter."""
    score, slack, worth = SCORE[votes.label], honest.errors * votes.error, (position(fitted).points or 0.0) / SCALE
    first = sigmoid(votes.odds + worth)
    favourite = np.abs(votes.odds)
    sure = np.minimum(honest.discernment * (favourite - slack), favourite - slack)
    under = np.where(votes.odds >= 0, 1 - score, score)
    sides = {
        "against": _Wager(votes.owner, under, sigmoid(-sure), votes.count, sigmoid(-favourite)),
        "first": _Wager(votes.owner, score, sigmoid(votes.odds + worth + honest.lean + slack), votes.count, first),
        "second": _Wager(
            votes.owner, 1 - score, sigmoid(-votes.odds - worth + honest.lean + slack), votes.count, 1 - first
        ),
    }
    kinds = {kind: _played(kind, wager, voters) for kind, wager in sides.items()}
    kinds["model"] = _for_a_model(fitted, votes, voters, honest.taste + slack)
    kinds["ties"] = _ties(fitted, votes, voters)
    return kinds


def _wealth(wager: _Wager, keys: int) -> np.ndarray:
    """(keys,) log wealth, over equal stakes on each θ."""
    total = np.zeros((keys, len(TILTS)))
    for g, tilt in enumerate(TILTS):
        gain = np.log1p(wager.score * np.expm1(tilt)) - np.log1p(wager.most * np.expm1(tilt))
        total[:, g] = np.bincount(wager.key, weights=wager.count * gain, minlength=keys)
    return np.logaddexp.reduce(total, axis=1) - math.log(len(TILTS))


def _counts(wager: _Wager, keys: int) -> np.ndarray:
    """(keys, 3): score seen, expected, and votes."""
    parts = (wager.count * wager.score, wager.count * wager.expected, wager.count)
    return np.stack([np.bincount(wager.key, weights=part, minlength=keys) for part in parts], axis=1)


def _played(kind: str, wager: _Wager, voters: int) -> list[Suspicion]:
    wealth, counts = _wealth(wager, voters), _counts(wager, voters)
    return [_suspicion(kind, log_e, row) for log_e, row in zip(wealth, counts, strict=True)]


def _suspicion(kind: str, log_e: float, counts: np.ndarray) -> Suspicion:
    observed, expected, votes = counts.tolist()
    return Suspicion(kind, float(log_e), observed, expected, votes)


def _for_a_model(fitted: Fit, votes: _Votes, voters: int, room: np.ndarray) -> list[Suspicion]:
    """Return each voter's suspicion of voting for or against one model: an equal stake on every model, either way."""
    size, score, chance = len(fitted.models), SCORE[votes.label], sigmoid(votes.odds)
    high, low = sigmoid(votes.odds + room), sigmoid(-votes.odds + room)  # most of A's score, and of B's
    sides = [
        (votes.a, 1, score, high, chance),
        (votes.b, 1, 1 - score, low, 1 - chance),
        (votes.a, 0, 1 - score, low, 1 - chance),
        (votes.b, 0, score, high, chance),
    ]
    key = np.concatenate([(votes.owner * size + model) * 2 + favours for model, favours, *_ in sides])
    score, most, expected = (np.concatenate([row[k] for row in sides]) for k in (2, 3, 4))
    keys, short = np.unique(key, return_inverse=True)
    wager = _Wager(short, score, most, np.tile(votes.count, 4), expected)
    wealth, counts = _wealth(wager, len(keys)), _counts(wager, len(keys))
    suspicions = []
    ends = np.searchsorted(keys, np.arange(voters + 1) * size * 2)
    for begin, end in pairwise(ends.tolist()):
        # A stake on a model that the voter never met is kept whole.
        unmet = [math.log(2 * size - (end - begin))] if end - begin < 2 * size else []
        log_e = float(np.logaddexp.reduce([*wealth[begin:end], *unmet])) - math.log(2 * size)
        if end == begin:
            suspicions.append(Suspicion("model", log_e, 0.0, 0.0, 0.0))
            continue
        top = begin + int(wealth[begin:end].argmax())
        model, favours = divmod(int(keys[top]) % (2 * size), 2)
        suspicions.append(replace(_suspicion("model", log_e, counts[top]), model=model, favours=bool(favours)))
    return suspicions


def _ties(fitted: Fit, votes: _Votes, voters: int) -> list[Suspicion]:
    """Return each voter's suspicion of too many ties.

    Honest voters may call a tie up to half way between the board's own share of ties and always.
    """
    tie_share = float(fitted.tally.ties.sum() / 2 / fitted.tally.votes)
    level = np.bincount(votes.owner, weights=votes.count * (votes.label >= LABELS.index("tie")), minlength=voters)
    cast = np.bincount(votes.owner, weights=votes.count, minlength=voters)
    log_e = (
        log_e_above(level, np.zeros(voters), cast - level, (1 + tie_share) / 2) if tie_share < 1 else np.zeros(voters)
    )
    return [
        Suspicion("ties", float(e), float(observed), float(n * tie_share), float(n))
        for e, observed, n in zip(log_e, level, cast, strict=True)
    ]


def _pace(hasty: int, gaps: int) -> Suspicion:
    log_e = float(log_e_above(np.array(hasty), np.array(0), np.array(gaps - hasty), HASTY_SHARE))
    return Suspicion("pace", log_e, hasty, HASTY_SHARE * gaps, gaps)


def _describe(suspicion: Suspicion, fitted: Fit, name: Callable[[Any], str]) -> str:
    observed, votes = f"{suspicion.observed:g}", f"{suspicion.votes:g}"
    comparison = f"others would in {suspicion.expected:.1f}; a tie counts as half"
    match suspicion.kind:
        case _ if not suspicion.votes:
            return "No votes that others' votes could be compared with."
        case "against":
            return f"Preferred the model that others rate lower in {observed} of {votes} votes ({comparison})."
        case "first" | "second":
            return f"Chose the answer shown {suspicion.kind} in {observed} of {votes} votes ({comparison})."
        case "model":
            side = "Chose" if suspicion.favours else "Chose against"
            return (
                f"{side} {name(fitted.models[suspicion.model])} in {observed} of {votes} of its battles ({comparison})."
            )
        case "ties":
            return f"Called {observed} of {votes} a tie or both bad (at the board's share: {suspicion.expected:.1f})."
    return f"{observed} of {votes} votes came within {HASTY_SECONDS:g} seconds of the one before."
