"""Who votes unlike everybody else: persons, addresses, and visitors who came alike; judged again at every look.

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

from evaluation.ratings.bradley_terry import fit
from evaluation.ratings.tally import Tally, tally_indices
from evaluation.ratings.voter_clusters import Block, by_voters
from evaluation.vote_integrity.anomaly_detection import HONEST, Honest, Voter, detect_visitors, detect_voters

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

    def only(self, chosen: np.ndarray) -> Votes:
        columns = ("vote", "person", "address", "band", "half_day", "a", "b", "label", "held", "free")
        return replace(self, **{name: getattr(self, name)[chosen] for name in columns})

    @property
    def tally(self) -> Tally:
        return Tally(self.models, tally_indices(self.a, self.b, self.label, len(self.models)))

    def block(self, who: np.ndarray) -> Block:
        return who, self.a, self.b, self.label, np.ones(len(who), dtype=np.int64)


def changes(votes: Votes) -> tuple[dict[str, list[int]], list[int]]:
    """Return (ids of votes to hold, by kind; ids to release), from the votes as they stand."""
    now = votes
    for _ in range(ROUNDS):
        wanted = _wanted(now)
        after = np.where(now.free, wanted, now.held)
        if np.array_equal(after, now.held):
            break
        now = replace(now, held=after)
    after = now.held
    new = (votes.held == 0) & (after > 0)
    held = {kind: votes.vote[new & (after == place)].tolist() for place, kind in enumerate(PATTERNS, 1)}
    return held, votes.vote[(votes.held > 0) & (after == 0)].tolist()


@dataclass(frozen=True)
class _Level:
    """Whom to compare with all others: `key` (N,) numbers them, NOBODY elsewhere; `place` of the kind, plus one."""

    place: int
    key: np.ndarray
    alpha: float
    honest: Honest = HONEST
    peers: np.ndarray | None = None  # (N,) whom alone to compare with; then they must be more people

    def outside(self, held: np.ndarray) -> np.ndarray:
        """Return (N,) votes of those of whom something is held for this."""
        return np.isin(self.key, self.key[held == self.place]) & (self.key != NOBODY)


def _levels(votes: Votes) -> list[list[_Level]]:
    """From one person to many; the levels of one list overlap, and none of them hides votes from another.

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
    """The days that begin at midnight, and those that begin at noon."""
    return [np.where(half_day == NOBODY, NOBODY, (half_day + shift) // 2) for shift in (0, 1)]


def _wanted(votes: Votes) -> np.ndarray:
    """Return (N,) for what each vote is to be held: 0, or a place in PATTERNS plus one.

    Where few explain what is odd, many are left alone: no wider level holds anything new in the same round.
    """
    levels = _levels(votes)
    outside = [level.outside(votes.held) for group in levels for level in group]
    base = (votes.held == 0) & ~np.any(outside, axis=0)
    if base.sum() < FEWEST:
        return votes.held
    wanted, is_new = np.zeros(len(votes.vote), dtype=np.int64), False
    for group in levels:
        left = wanted == 0  # what a narrower level explains needs no wider one
        found = np.any([_found(votes, level, base, left) for level in group], axis=0)
        found &= left & ((votes.held > 0) | (not is_new))
        wanted[found] = group[0].place
        is_new = is_new or bool((found & (votes.held == 0) & votes.free).any())
    return wanted


def _found(votes: Votes, level: _Level, base: np.ndarray, left: np.ndarray) -> np.ndarray:
    """(N,) the votes of those whom this level suspects, from what is `left`, measured against the `base`."""
    others = base & left & (level.key == NOBODY)
    if level.peers is not None:
        others &= level.peers
        if _people(votes, others) <= _people(votes, level.key != NOBODY) or others.sum() < FEWEST:
            return np.zeros(len(votes.vote), dtype=bool)
    # Riggers together move what "all others" say: where the rest is enough, nobody of their kind is among these.
    base_here = others if others.sum() >= FEWEST else base & left
    inner, known = _of_known_models(votes, base_here)
    suspects = _suspects(inner, base_here[known], left[known], replace(level, key=level.key[known]))
    found = np.zeros(len(votes.vote), dtype=bool)
    found[np.flatnonzero(known)[_of_suspects(inner, level.key[known], suspects, level.place)]] = True
    return found


def _suspects(votes: Votes, base: np.ndarray, left: np.ndarray, level: _Level) -> list[Voter]:
    """Return those of the base against the rest of it; others, by what is left of their votes, against the whole
    of it."""
    inside, key, found = votes.only(base), level.key, list[Voter]()
    ascending = inside.only(np.argsort(inside.person, kind="stable"))
    fitted, _ = by_voters(fit(inside.tally), [ascending.block(ascending.person)])  # their tastes blur what they all say
    if (key[base] != NOBODY).any():
        among = np.where(key[base] == NOBODY, key.max() + 1, key[base])
        judged = detect_voters(fitted, [inside.block(among)], honest=level.honest, alpha=level.alpha)
        found = [one for one in judged if one.is_flagged]
    apart = left & ~base & (key != NOBODY) & ((votes.held == 0) | (votes.held == level.place))
    apart &= ~np.isin(key, key[base])
    if not apart.any():
        return found
    held, limit = set(key[level.outside(votes.held)].tolist()), math.log(1 / level.alpha)
    again = detect_visitors(fitted, [votes.only(apart).block(key[apart])], honest=level.honest, alpha=level.alpha)
    return found + [one for one in again if one.log_e >= limit - (DOUBT if one.voter in held else 0)]


def _of_suspects(votes: Votes, key: np.ndarray, suspects: Iterable[Voter], place: int) -> np.ndarray:
    """Return (N,) their votes. Of many who came alike only those on the one model are held, for it and against it."""
    found = np.zeros(len(key), dtype=bool)
    for one in suspects:
        mine = key == one.voter
        if place == ALIKE:
            if one.strongest.kind != "model" or one.strongest.model is None:
                continue
            about = (votes.a == one.strongest.model) | (votes.b == one.strongest.model)
            mine &= about
            if not one.strongest.favours and mine.sum() >= MINORITY * about.sum():
                continue  # then it may be the others who are for it
        found |= mine & (key != NOBODY)
    return found


def _shared(votes: Votes) -> np.ndarray:
    """Addresses from which several people have voted; of one alone, everything is said of the person."""
    pairs = np.unique(np.stack([votes.address, votes.person]), axis=1)
    people = np.bincount(pairs[0][pairs[0] >= 0], minlength=int(votes.address.max(initial=0)) + 1)
    return np.where((votes.address >= 0) & (people[votes.address] > 1), votes.address, NOBODY)


def _people(votes: Votes, chosen: np.ndarray) -> int:
    return len(np.unique(votes.person[chosen]))


def _of_known_models(votes: Votes, base: np.ndarray) -> tuple[Votes, np.ndarray]:
    """Votes on models of which the base says something, with places among those; and (N,) which these are."""
    met = np.unique(np.r_[votes.a[base], votes.b[base]])
    known = np.isin(votes.a, met) & np.isin(votes.b, met)
    inner = votes.only(known)
    models = tuple(votes.models[place] for place in met)
    return replace(inner, a=np.searchsorted(met, inner.a), b=np.searchsorted(met, inner.b), models=models), known


def bands(person: np.ndarray, is_visitor: np.ndarray) -> np.ndarray:
    """Return (N,) the band of each vote's visitor, by how many votes they have cast."""
    cast = np.bincount(person[person >= 0], minlength=1)[person]
    return np.where(is_visitor & (person >= 0), np.searchsorted(BANDS, cast), NOBODY)
