"""Tests of one voter's votes as wagers against honest voters: one button, one model, ties without end, haste."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from evaluation.ratings.bradley_terry import SCALE, Fit, sigmoid
from evaluation.ratings.confidence_sequence import log_e_above
from evaluation.ratings.exposure import position
from evaluation.ratings.tally import LABELS
from evaluation.ratings.voter_clusters import SCORE

TILTS = np.geomspace(0.1, 8.0, 7)
HASTY_SECONDS, HASTY_SHARE = 3.0, 0.1  # so fast, an honest voter votes at most this often


@dataclass(frozen=True)
class Honest:
    """Hold what is allowed to honest voters beyond the crowd's own opinion, in log-odds but for the first."""

    discernment: float = 0.75  # of the crowd's log-odds
    taste: float = 0.8
    lean: float = 0.5
    errors: float = 1.0  # standard errors of the others' opinion that are the voter's too


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
class Votes:
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


def suspicions_of(fitted: Fit, votes: Votes, voters: int, honest: Honest) -> dict[str, list[Suspicion]]:
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
    """Return (keys,) log wealth, over equal stakes on each θ."""
    total = np.zeros((keys, len(TILTS)))
    for g, tilt in enumerate(TILTS):
        gain = np.log1p(wager.score * np.expm1(tilt)) - np.log1p(wager.most * np.expm1(tilt))
        total[:, g] = np.bincount(wager.key, weights=wager.count * gain, minlength=keys)
    return np.logaddexp.reduce(total, axis=1) - math.log(len(TILTS))


def _counts(wager: _Wager, keys: int) -> np.ndarray:
    """Return (keys, 3): score seen, expected, and votes."""
    parts = (wager.count * wager.score, wager.count * wager.expected, wager.count)
    return np.stack([np.bincount(wager.key, weights=part, minlength=keys) for part in parts], axis=1)


def _played(kind: str, wager: _Wager, voters: int) -> list[Suspicion]:
    wealth, counts = _wealth(wager, voters), _counts(wager, voters)
    return [_suspicion(kind, log_e, row) for log_e, row in zip(wealth, counts, strict=True)]


def _suspicion(kind: str, log_e: float, counts: np.ndarray) -> Suspicion:
    observed, expected, votes = counts.tolist()
    return Suspicion(kind, float(log_e), observed, expected, votes)


def _for_a_model(fitted: Fit, votes: Votes, voters: int, room: np.ndarray) -> list[Suspicion]:
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


def _ties(fitted: Fit, votes: Votes, voters: int) -> list[Suspicion]:
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


def suspicion_of_haste(hasty: int, gaps: int) -> Suspicion:
    log_e = float(log_e_above(np.array(hasty), np.array(0), np.array(gaps - hasty), HASTY_SHARE))
    return Suspicion("pace", log_e, hasty, HASTY_SHARE * gaps, gaps)


def describe(suspicion: Suspicion, fitted: Fit, name: Callable[[Any], str]) -> str:
    observed, votes = f"{suspicion.observed:g}", f"{suspicion.votes:g}"
    comparison = f"others would in {suspicion.expected:.1f}; a tie counts as half"
    match suspicion.kind:
        case _ if not suspicion.votes:
            return "There are no votes to compare with others."
        case "against":
            return f"Preferred the lower-rated model in {observed} of {votes} votes ({comparison})."
        case "first" | "second":
            return f"Chose the answer shown {suspicion.kind} in {observed} of {votes} votes ({comparison})."
        case "model":
            side = "Chose" if suspicion.favours else "Chose against"
            return (
                f"{side} {name(fitted.models[suspicion.model])} in {observed} of {votes} of its battles ({comparison})."
            )
        case "ties":
            return f"Gave {observed} of {votes} votes as tie or both bad (expected: {suspicion.expected:.1f})."
    return f"{observed} of {votes} votes came within {HASTY_SECONDS:g} seconds of the previous vote."
