"""Find votes to hold, by person, address and group of visitors, from all votes at every look.

Each is compared with all others by bets that an honest one loses (`anomaly`). Whoever is held is judged on, against the
votes of those who are not. An honest voter is ever held with a probability of at most the sum of SHARES, however often
this is looked at: the bets are valid at any look.

Two kinds of togetherness are looked for beside single persons. The people of one address, taken as one voter; and
visitors without an account who came on one day, or who are as busy as each other, on one model. Riggers who vote once
each and from everywhere show only there. Days are counted twice, from midnight and from noon, so that a burst of less
than twelve hours lies whole in one of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from evaluation.ratings.bradley_terry import Fit, fit
from evaluation.ratings.tally import Tally, tally_indices
from evaluation.ratings.voter_clusters import Block, by_voters
from evaluation.vote_integrity.anomaly_detection import HONEST, Voter, detect_visitors, detect_voters
from evaluation.vote_integrity.vote_wagers import Honest

PATTERNS = ("pattern", "address_pattern", "alike")
PERSON, ADDRESS, ALIKE = 1, 2, 3  # places in it, plus one
SHARES = {PERSON: 0.005, ADDRESS: 0.0015, ALIKE: 0.0015}  # of honest voters that may ever be held for each
BANDS = np.array([5, 20, 80])  # votes of visitors who came alike: a newcomer has as many as the first, at most
NOBODY = -1
# What is allowed to many who came alike: single people's tastes average out, so less of these; but so many votes would
# tell any error in what others say, so more of that.
MANY = Honest(taste=0.4, lean=0.25, errors=3.0)
FEWEST = 100  # votes, before which nobody knows what everybody says
MINORITY = 0.25  # of the votes on a model: so many at most are held for being against it
ROUNDS = 8  # what one round holds no longer blurs what all others say in the next
DOUBT = math.log(2)  # a held voter is released when the evidence is half of what held them


@dataclass(frozen=True)
class Votes:
    """Arrays (N,). `held` is 0, or the place in PATTERNS plus one; `free` marks what the software may hold or release.

    `person` and `address` number who cast a vote, and from where; `band` how often visitors have voted (a place among
    BANDS), `half_day` the twelve hours in which those of the first band cast it, counted from a midnight (UTC). NOBODY
    where that is not known, or for people with an account.
    """

    vote: np.ndarray
    person: np.ndarray
    address: np.ndarray
    band: np.ndarray
    half_day: np.ndarray
    a: np.ndarray  # places in `models`
    b: np.ndarray
    label: np.ndarray
    held: np.ndarray
    free: np.ndarray
    models: tuple[int, ...]

    def only(self, mask: np.ndarray) -> Votes:
        columns = ("vote", "person", "address", "band", "half_day", "a", "b", "label", "held", "free")
        return replace(self, **{name: getattr(self, name)[mask] for name in columns})

    @property
    def tally(self) -> Tally:
        return Tally(self.models, tally_indices(self.a, self.b, self.label, len(self.models)))

    def block(self, voter: np.ndarray) -> Block:
        return voter, self.a, self.b, self.label, np.ones(len(voter), dtype=np.int64)


def changes(votes: Votes) -> tuple[dict[str, list[int]], list[int]]:
    """Return (ids of votes to hold, by kind; ids to release), from the votes as they stand."""
    now, levels = votes, _levels(votes)
    for _ in range(ROUNDS):
        kinds = _kinds_to_hold(now, levels)
        new_held = np.where(now.free, kinds, now.held)
        if np.array_equal(new_held, now.held):
            break
        now = replace(now, held=new_held)
    new_held = now.held
    new = (votes.held == 0) & (new_held > 0)
    held_ids = {
        kind: votes.vote[new & (new_held == kind_number)].tolist() for kind_number, kind in enumerate(PATTERNS, 1)
    }
    return held_ids, votes.vote[(votes.held > 0) & (new_held == 0)].tolist()


@dataclass(frozen=True)
class _Level:
    """One way to group votes: `key` (N,) numbers the groups, NOBODY elsewhere; `place` is its kind in PATTERNS, plus
    one."""

    place: int
    key: np.ndarray
    alpha: float
    honest: Honest = HONEST
    peers: np.ndarray | None = None  # (N,) whom alone to compare with; then they must be more people

    def outside(self, held: np.ndarray) -> np.ndarray:
        """Return (N,) all votes of the groups of which some vote is held for this kind."""
        return np.isin(self.key, self.key[held == self.place]) & (self.key != NOBODY)


def _levels(votes: Votes) -> list[list[_Level]]:
    """Return the levels from one person to many; the levels of one list overlap, and none of them hides votes from
    another.

    Riggers who take their time are few on each day, and so newcomers are taken all together, too; riggers who hide
    among votes like the crowd's are as busy as each other.

    Newcomers cost nothing to make, so nobody is judged by them: they are compared with those who came more often, and
    these with one another, the few with the many.
    """
    part, regular = SHARES[ALIKE] / 3, votes.band != 0
    return [
        [_Level(PERSON, votes.person, SHARES[PERSON])],
        [_Level(ADDRESS, _shared(votes), SHARES[ADDRESS])],
        [_Level(ALIKE, day, part / 2, MANY) for day in _days(votes.half_day)],
        *(
            [_Level(ALIKE, np.where(votes.band == band, band, NOBODY), part / len(BANDS), MANY, peers=regular)]
            for band in range(1, len(BANDS) + 1)
        ),
        [_Level(ALIKE, np.where(votes.band == 0, 0, NOBODY), part, MANY)],
    ]


def _days(half_day: np.ndarray) -> list[np.ndarray]:
    """Return the days that begin at midnight, and those that begin at noon."""
    return [np.where(half_day == NOBODY, NOBODY, (half_day + shift) // 2) for shift in (0, 1)]


@dataclass(frozen=True)
class _Crowd:
    """Hold what a level's suspects are measured against: the votes on models that the crowd knows, and its own
    fitted."""

    votes: Votes
    is_known: np.ndarray  # (N,) which of all votes these are
    base: np.ndarray  # which of these are the crowd's own
    fitted: Fit


def _kinds_to_hold(votes: Votes, levels: list[list[_Level]]) -> np.ndarray:
    """Return (N,) for what each vote is to be held: 0, or a place in PATTERNS plus one.

    Where few explain what is odd, many are left alone: no wider level holds anything new in the same round.
    """
    outside = [level.outside(votes.held) for group in levels for level in group]
    base = (votes.held == 0) & ~np.any(outside, axis=0)
    if base.sum() < FEWEST:
        return votes.held
    kinds, is_new = np.zeros(len(votes.vote), dtype=np.int64), False
    crowds: dict[bytes, _Crowd] = {}  # by whose votes they are: days and newcomers share one
    for group in levels:
        is_unexplained = kinds == 0  # what a narrower level explains needs no wider one
        is_suspect = np.any([_suspect_votes(votes, level, base, is_unexplained, crowds) for level in group], axis=0)
        is_suspect &= is_unexplained & ((votes.held > 0) | (not is_new))
        kinds[is_suspect] = group[0].place
        is_new = is_new or bool((is_suspect & (votes.held == 0) & votes.free).any())
    return kinds


def _suspect_votes(
    votes: Votes, level: _Level, base: np.ndarray, is_unexplained: np.ndarray, crowds: dict[bytes, _Crowd]
) -> np.ndarray:
    """Return (N,) the votes of the suspects of this level among unexplained votes, measured against the `base`."""
    is_other = base & is_unexplained & (level.key == NOBODY)
    if level.peers is not None:
        is_other &= level.peers
        if _people(votes, is_other) <= _people(votes, level.key != NOBODY) or is_other.sum() < FEWEST:
            return np.zeros(len(votes.vote), dtype=bool)
    # Riggers together move what "all others" say: where the rest is enough, nobody of their kind is among these.
    base_here = is_other if is_other.sum() >= FEWEST else base & is_unexplained
    name = base_here.tobytes()
    crowd = crowds.get(name) or crowds.setdefault(name, _crowd(votes, base_here))
    is_known, key = crowd.is_known, level.key[crowd.is_known]
    suspects = _suspects(crowd, is_unexplained[is_known], replace(level, key=key))
    is_suspect = np.zeros(len(votes.vote), dtype=bool)
    is_suspect[np.flatnonzero(is_known)[_votes_of_suspects(crowd.votes, key, suspects, level.place)]] = True
    return is_suspect


def _crowd(votes: Votes, base: np.ndarray) -> _Crowd:
    inner, is_known = _of_known_models(votes, base)
    inside = inner.only(base[is_known])
    ascending = inside.only(np.argsort(inside.person, kind="stable"))
    fitted, _ = by_voters(fit(inside.tally), [ascending.block(ascending.person)])  # their tastes blur what they all say
    return _Crowd(inner, is_known, base[is_known], fitted)


def _suspects(crowd: _Crowd, is_unexplained: np.ndarray, level: _Level) -> list[Voter]:
    """Return the suspects among the crowd, each against its rest, and among other votes, against the whole of it."""
    votes, base, fitted = crowd.votes, crowd.base, crowd.fitted
    key, suspects = level.key, list[Voter]()
    if (key[base] != NOBODY).any():
        key_or_rest = np.where(key[base] == NOBODY, key.max() + 1, key[base])
        block = votes.only(base).block(key_or_rest)
        voters = detect_voters(fitted, [block], honest=level.honest, alpha=level.alpha)
        suspects = [one for one in voters if one.is_flagged]
    apart = is_unexplained & ~base & (key != NOBODY) & ((votes.held == 0) | (votes.held == level.place))
    apart &= ~np.isin(key, key[base])
    if not apart.any():
        return suspects
    held_keys, limit = set(key[level.outside(votes.held)].tolist()), math.log(1 / level.alpha)
    outsiders = detect_visitors(fitted, [votes.only(apart).block(key[apart])], honest=level.honest, alpha=level.alpha)
    return suspects + [one for one in outsiders if one.log_e >= limit - (DOUBT if one.voter in held_keys else 0)]


def _votes_of_suspects(votes: Votes, key: np.ndarray, suspects: Iterable[Voter], kind_number: int) -> np.ndarray:
    """Return (N,) their votes. Of many who came alike only those on the one model are held, for it and against it."""
    is_suspect = np.zeros(len(key), dtype=bool)
    for suspect in suspects:
        is_own = key == suspect.voter
        if kind_number == ALIKE:
            if suspect.strongest.kind != "model" or suspect.strongest.model is None:
                continue
            about = (votes.a == suspect.strongest.model) | (votes.b == suspect.strongest.model)
            is_own &= about
            if not suspect.strongest.favours and is_own.sum() >= MINORITY * about.sum():
                continue  # then it may be the others who are for it
        is_suspect |= is_own & (key != NOBODY)
    return is_suspect


def _shared(votes: Votes) -> np.ndarray:
    """Return the addresses from which several people have voted; one alone is examined as a person."""
    pairs = np.unique(np.stack([votes.address, votes.person]), axis=1)
    people = np.bincount(pairs[0][pairs[0] >= 0], minlength=int(votes.address.max(initial=0)) + 1)
    return np.where((votes.address >= 0) & (people[votes.address] > 1), votes.address, NOBODY)


def _people(votes: Votes, mask: np.ndarray) -> int:
    return len(np.unique(votes.person[mask]))


def _of_known_models(votes: Votes, base: np.ndarray) -> tuple[Votes, np.ndarray]:
    """Return the votes on models that the base has votes on, indexed among those; and (N,) which votes these are."""
    models_in_base = np.unique(np.r_[votes.a[base], votes.b[base]])
    is_known = np.isin(votes.a, models_in_base) & np.isin(votes.b, models_in_base)
    inner = votes.only(is_known)
    models = tuple(votes.models[index] for index in models_in_base)
    return replace(
        inner, a=np.searchsorted(models_in_base, inner.a), b=np.searchsorted(models_in_base, inner.b), models=models
    ), is_known


def bands(person: np.ndarray, is_visitor: np.ndarray) -> np.ndarray:
    """Return (N,) the band of each vote's visitor, by how many votes they have cast."""
    cast = np.bincount(person[person >= 0], minlength=1)[person]
    return np.where(is_visitor & (person >= 0), np.searchsorted(BANDS, cast), NOBODY)
