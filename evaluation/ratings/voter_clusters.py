"""Compute intervals that treat one voter's votes as dependent.

A voter who prefers long answers prefers them every time: a thousand votes of ten people say less than a thousand
votes of a thousand. Here the voter is what is drawn at random, not the vote:
- the sandwich H⁺GH⁺ with G = V/(V−1) · Σ over voters of s_v s_vᵀ, where s_v sums the scores of a voter's votes (Liang
  and Zeger, 1986; Cameron and Miller, 2015, 10.3368/jhr.50.2.317);
- the bootstrap that draws voters with all their votes, by a Poisson(1) weight each (Chamandy et al., 2012).

Votes come as blocks, tuples of equally long arrays (voter, a, b, said, count): integers, voters ascending over all
blocks (one may straddle two), `a`, `b` the places in `Fit.models`, `label` that in LABELS, `count` how many such
votes. What is held at once is one block, whatever the number of votes.

With few voters the sandwich is too small: fewer than 20 to 50 are few, more so when some have most of the votes
(Cameron and Miller, section VI). So intervals reach Student's quantile at the *effective* number of voters less one,
(Σn)²/Σn² for voters with n votes each, and `Voters.few` says that they are not to be relied on below 50.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from common.distributions import student95
from evaluation.ratings.bootstrap import portions, refit
from evaluation.ratings.bradley_terry import Fit, half_wins, laplacian, sandwiched, sigmoid, squared_scores, tie_bridges

Block = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]

FEW = 50  # effective voters
SCORE = np.array([1.0, 0.0, 0.5, 0.5])  # of the model shown as A, by LABELS


@dataclass(frozen=True)
class Voters:
    """The spread of votes over voters, and `squared` (M, M): the voters' summed scores, squared and summed."""

    squared: np.ndarray
    voters: int
    votes: float  # a whole number, unless votes are weighted
    most: float  # of one voter
    votes_squared: float

    @property
    def repeat(self) -> bool:
        """Return whether any voter voted twice. Then intervals go by voters; else both kinds are the same."""
        return self.votes > self.voters

    @property
    def effective(self) -> float:
        """Return the number of voters with equally many votes that would give an interval as wide (Kish, 1965)."""
        return self.votes**2 / self.votes_squared

    @property
    def critical(self) -> float:
        """Return how many standard errors an interval reaches; infinite below two effective voters.

        Where one voter gave nearly all votes, the ratings are that voter's, and nothing says how others would vote.
        """
        return student95(self.effective - 1)

    @property
    def few(self) -> bool:
        return self.effective < FEW


class Rows(NamedTuple):
    """Votes of whole voters: `owner` (n,) numbers these 0..`owners`−1, ascending."""

    owner: np.ndarray
    owners: int
    a: np.ndarray
    b: np.ndarray
    label: np.ndarray
    times: np.ndarray


def by_voters(fitted: Fit, blocks: Iterable[Block]) -> tuple[Fit, Voters]:
    """Return the fit with intervals by voters when somebody voted twice, else as it was; and how votes are spread.

    Of one voter's votes alone the intervals have no end: nothing says how others would vote.
    """
    voters = score_voters(fitted, blocks)
    if not voters.repeat:
        return fitted, voters
    if voters.voters < 2:
        return replace(fitted, critical=voters.critical), voters
    return clustered(fitted, voters), voters


def clustered(fitted: Fit, voters: Voters) -> Fit:
    """Return the fit with intervals by these voters, whom `score_voters` has seen.

    A few voters may agree to the vote: two who both prefer A in 3 of 5 votes differ in nothing, and the sandwich has no
    width. So the covariance of single votes is added, over the square of the effective voters: of two a quarter of it,
    of ten a hundredth.
    """
    covariance = _covariance(fitted, voters) + fitted.covariance / voters.effective**2
    return replace(fitted, covariance=covariance, critical=voters.critical)


def cluster_covariance(fitted: Fit, blocks: Iterable[Block]) -> np.ndarray:
    """Return (M, M) covariance of the ratings by voters, on the published scale, NaN across groups as in the fit's own.

    Raises ValueError with fewer than two voters, on voters that do not ascend, and on votes that the fit has not seen.
    """
    return _covariance(fitted, score_voters(fitted, blocks))


def _covariance(fitted: Fit, voters: Voters) -> np.ndarray:
    if voters.voters < 2:
        raise ValueError(
            f"intervals by voters need two voters at least, and there is {voters.voters}: say no interval."
        )
    wins, ties = fitted.tally.wins, fitted.tally.ties
    added = half_wins(wins + ties / 2)
    prior = squared_scores(fitted.log_odds, added + tie_bridges(wins + added, ties), np.zeros_like(ties))
    squared = voters.voters / (voters.voters - 1) * voters.squared + prior
    return sandwiched(fitted.log_odds, fitted.group, wins + ties / 2 + added, squared)


def score_voters(fitted: Fit, blocks: Iterable[Block]) -> Voters:
    """Return the spread and scores of voters in one pass. Raises ValueError when these are not the votes of the fit."""
    size = len(fitted.models)
    chance = sigmoid(fitted.log_odds[:, None] - fitted.log_odds[None, :])
    squared, single = np.zeros((size, size)), np.zeros(size * size)
    voters, votes, largest, votes_squared = 0, 0.0, 0.0, 0.0
    for rows in whole_voters(blocks, size):
        score = rows.times * (SCORE[rows.label] - chance[rows.a, rows.b])
        alone = np.bincount(rows.owner, minlength=rows.owners)[rows.owner] == 1
        cell = rows.a * size + rows.b
        single += np.bincount(cell[alone], weights=score[alone] ** 2, minlength=size * size)
        squared += _summed(rows, score, ~alone, size)
        votes_by_voter = np.bincount(rows.owner, weights=rows.times, minlength=rows.owners)
        voters, votes = voters + rows.owners, votes + float(votes_by_voter.sum())
        largest, votes_squared = (
            max(largest, float(votes_by_voter.max())),
            votes_squared + float((votes_by_voter**2).sum()),
        )
    if not math.isclose(votes, counted := float(fitted.tally.cells.sum()), rel_tol=1e-9):
        raise ValueError(f"the fit is of {counted:g} votes and these are {votes:g}: give the same votes.")
    edges = single.reshape(size, size)
    return Voters(squared + laplacian(edges + edges.T), voters, votes, largest, votes_squared)


def _summed(rows: Rows, score: np.ndarray, is_chosen: np.ndarray, size: int) -> np.ndarray:
    """Return (M, M) Σ s_v s_vᵀ over the voters of the chosen rows, so many voters at once as fit."""
    total = np.zeros((size, size))
    owner, a, b, score = renumbered(rows.owner[is_chosen]), rows.a[is_chosen], rows.b[is_chosen], score[is_chosen]
    for part in voters_at_once(owner, size):
        sums = summed_scores(owner[part], a[part], b[part], score[part], np.zeros((0, 0)), size)
        total += sums.T @ sums
    return total


def voters_at_once(owner: np.ndarray, size: int) -> Iterator[slice]:
    """Yield slices of whole voters, as many at once as have room with `size` numbers each."""
    for part in portions(int(owner[-1]) + 1 if len(owner) else 0, size):
        yield slice(*(int(bound) for bound in np.searchsorted(owner, (part.start, part.stop))))


def summed_scores(
    owner: np.ndarray, a: np.ndarray, b: np.ndarray, score: np.ndarray, others: np.ndarray, size: int
) -> np.ndarray:
    """Return (voters, M + k) scores summed by voter: `score` (n,) for model A and against B, `others` (k, n) as they
    are."""
    owner = renumbered(owner)
    count = int(owner[-1]) + 1
    models = np.bincount(owner * size + a, weights=score, minlength=count * size)
    models -= np.bincount(owner * size + b, weights=score, minlength=count * size)
    return np.column_stack(
        [models.reshape(count, size), *(np.bincount(owner, weights=other, minlength=count) for other in others)]
    )


def bootstrap_voters(fitted: Fit, blocks: Iterable[Block], draws: int = 100, seed: int = 0) -> np.ndarray:
    """Return (draws, M) ratings with each voter's votes weighted by one Poisson(1) number per draw, in one pass.

    The weights of those who voted once sum to Poisson numbers by the cell, so these cost nothing each. A draw in which
    a group of models falls apart is NaN for that group.
    """
    size, random = len(fitted.models), np.random.default_rng(seed)
    weighted = np.zeros((draws, 2 * size * size), dtype=np.float32)  # whole numbers: exact to 16 million a cell
    single_votes = np.zeros(2 * size * size)
    for rows in whole_voters(blocks, size):
        alone = (np.bincount(rows.owner, weights=rows.times, minlength=rows.owners) == 1)[rows.owner]
        cell = _cells(rows, size)
        single_votes += np.bincount(cell[alone], minlength=len(single_votes))
        _add_weighted(weighted, cell[~alone], renumbered(rows.owner[~alone]), rows.times[~alone], random)
    ratings = np.empty((draws, size))
    for part in portions(draws, len(single_votes)):
        draws_counts = (weighted[part] + random.poisson(single_votes, size=weighted[part].shape)).reshape(
            -1, 2, size, size
        )
        ratings[part] = refit(
            fitted, draws_counts[:, 0] + (draws_counts[:, 1] + np.swapaxes(draws_counts[:, 1], 1, 2)) / 2
        )
    return ratings


def _cells(rows: Rows, size: int) -> np.ndarray:
    """Return (n,) a row's place among 2 · M · M counts: of the row's model beating the column's, then of ties."""
    cell = np.where(rows.label == 1, rows.b * size + rows.a, rows.a * size + rows.b)
    return cell + np.where(rows.label >= 2, size * size, 0)


def _add_weighted(
    weighted: np.ndarray, cell: np.ndarray, owner: np.ndarray, count: np.ndarray, random: np.random.Generator
) -> None:
    """Add to each draw (one row of `drawn`) the counts by cell, each voter's votes with one weight."""
    voters, single = int(owner.max(initial=-1)) + 1, bool((count == 1).all())
    for row in weighted if voters else ():
        weight = random.poisson(1.0, size=voters).astype(float)[owner]
        row += np.bincount(cell, weights=weight if single else weight * count, minlength=len(row))


def renumbered(owner: np.ndarray) -> np.ndarray:
    """Return ascending numbers as 0, 1, 2, … without gaps."""
    return np.cumsum(np.diff(owner, prepend=owner[:1]) != 0)


def whole_voters(blocks: Iterable[Block], size: int) -> Iterator[Rows]:
    """Yield the blocks cut so that each voter is whole; a block's last voter waits for the next block, counted by
    cells."""
    carried: Block | None = None
    for block in blocks:
        voter, a, b, label, count = _checked(block, size, carried)
        if not len(voter):
            continue
        if carried is not None:
            voter, a, b, label, count = (
                np.concatenate(pair) for pair in zip(carried, (voter, a, b, label, count), strict=True)
            )
        cut = int(np.searchsorted(voter, voter[-1]))
        if cut:
            yield _numbered(voter[:cut], a[:cut], b[:cut], label[:cut], count[:cut])
        carried = _count_cells(voter[cut:], a[cut:], b[cut:], label[cut:], count[cut:], size)
    if carried is not None:
        yield _numbered(*carried)


def _numbered(voter: np.ndarray, a: np.ndarray, b: np.ndarray, label: np.ndarray, count: np.ndarray) -> Rows:
    owner = renumbered(voter)
    return Rows(owner, int(owner[-1]) + 1, a, b, label, count)


def _count_cells(
    voter: np.ndarray, a: np.ndarray, b: np.ndarray, label: np.ndarray, count: np.ndarray, size: int
) -> Block:
    """Return one voter's votes, at most one row for each cell: an annotator with ten million votes needs no more than a
    table."""
    cell, row_cell = np.unique((a * size + b) * len(SCORE) + label, return_inverse=True)
    pair, label = np.divmod(cell, len(SCORE))
    a, b = np.divmod(pair, size)
    return np.full(len(cell), voter[0]), a, b, label, np.bincount(row_cell, weights=count)


def _checked(block: Block, size: int, carried: Block | None) -> Block:
    voter, a, b, label, count = (np.asarray(values) for values in block)
    if not len(voter) == len(a) == len(b) == len(label) == len(count):
        raise ValueError("a block needs voter, a, b, label and count of the same length.")
    for name, values, top in (("a", a, size), ("b", b, size), ("label", label, len(SCORE))):
        if values.size and (values.min() < 0 or values.max() >= top):
            raise ValueError(f"{name} has an index outside 0..{top - 1}.")
    if np.any(a == b):
        raise ValueError("a model cannot be compared with itself; leave such votes out.")
    last_voter = carried[0][:1] if carried is not None else voter[:1]
    if np.any(np.diff(voter, prepend=last_voter) < 0):
        raise ValueError("voters must ascend: order the votes by voter before they are cut into blocks.")
    return voter, a.astype(np.int64), b.astype(np.int64), label.astype(np.int64), count
