"""Compute the joint likelihood of pairs, thumbs and stars under one score s per completion.

Every annotation is a noisy reading of s with logistic noise of scale 1, through cut points that are learnt:

- A comparison reads s_a - s_b through symmetric cuts ±t1 <= ±t2 <= ±t3 (Rao and Kupper 1967, a cumulative logit):
  beyond t1 it has a winner, beyond t2 and t3 a winner by strength 2 and 3; within ±t1 it is a tie. With no ties t1
  falls to its bound near 0 and this is Bradley-Terry. Rao-Kupper rather than Davidson because strengths extend it.
- A tie is *both bad* rather than *tie* by a logistic reading of -(s_a + s_b) / 2 with its own offset.
- A thumb is up by a logistic reading of s with an offset; stars are a cumulative logit with ordered cuts. Each author
  has shifts of both, with a normal prior: one person's three stars are another's four.
- Each author reads a * s, with a normal prior around 1 and never below 0: the discrimination of item response theory
  (Birnbaum 1968). At 0 what the author says has nothing to do with s. Cuts and shifts stay outside, so that such an
  author still uses ties and stars as often as anybody.

With every a at 1 all of it is convex in (scores, parameters), so that a linear head has one optimum; a is free only
where cross-validation asks for it (`reward_judges`), and the fit then starts from 1.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from annotate.data.datasets import preferences

GAP_BOUNDS = (1e-3, 20.0)
OFFSET_BOUNDS = (-30.0, 30.0)
AUTHOR_BOUNDS = (-5.0, 5.0)
RELIABILITY_BOUNDS = (-1.0, 3.0)  # of a - 1: at worst an annotator is not listened to, never taken to mean the contrary
# So weak that it moves no estimate, and enough to keep a cut finite that a fold of the data does not speak of.
WEAK_PRECISION = 1e-3


ANNOTATIONS_AT_ONCE = 2**15  # of a kind, whose likelihood and its gradient are computed together: some 300 bytes each
_Rows = Tensor | slice


@dataclass(frozen=True)
class Priors:
    """Standard deviations of what makes authors differ; at 0 they do not."""

    shift: float = 1.0
    reliability: float = 0.0


TODAY = Priors()  # every author as reliable as the next


@dataclass(frozen=True)
class Observations:
    """Judgements as index tensors into an array of N completions; authors count from 0 in the order of their ids."""

    chosen: Tensor
    rejected: Tensor
    strength: Tensor  # 0 where nobody asked
    pair_author: Tensor
    tie_a: Tensor
    tie_b: Tensor
    both_bad: Tensor  # float: 1 where the tie was both_bad
    tie_author: Tensor
    thumbed: Tensor
    thumbs: Tensor  # float: 1 up, 0 down
    thumbs_author: Tensor
    starred: Tensor
    stars: Tensor  # rank among `star_values`
    stars_author: Tensor
    star_values: tuple[int, ...]
    author_ids: tuple[int, ...]
    pair_weight: Tensor | None = None  # float: where pairs of a ranking share one annotation's weight; None: all 1
    tie_weight: Tensor | None = None
    uses_both_bad: bool | None = None  # whether the ties that these are a part of do; None: these themselves

    @property
    def authors(self) -> int:
        return len(self.author_ids)

    def __len__(self) -> int:
        return sum(len(t) for t in (self.chosen, self.tie_a, self.thumbed, self.starred))

    def among(self, mask: Tensor) -> Observations:
        """Return the annotations whose completions are all in the boolean `mask` (N,); indices stay as they are."""
        won = mask[self.chosen] & mask[self.rejected]
        level = mask[self.tie_a] & mask[self.tie_b]
        return self._where(won, level, mask[self.thumbed], mask[self.starred])

    def only(self, *, pairs: bool = False, ratings: bool = False) -> Observations:
        """Return the comparisons alone, or the thumbs and stars alone."""
        masks = zip(
            (pairs, pairs, ratings, ratings), (self.chosen, self.tie_a, self.thumbed, self.starred), strict=True
        )
        return self._where(*(torch.full((len(t),), is_kept) for is_kept, t in masks))

    def parts(self) -> Iterator[Observations]:
        """Yield the annotations in parts whose likelihoods add up, some tens of thousands of each kind at most."""
        uses_both_bad = bool(self.both_bad.any())
        most = max(map(len, (self.chosen, self.tie_a, self.thumbed, self.starred)))
        for begin in range(0, max(most, 1), ANNOTATIONS_AT_ONCE):
            rows = slice(begin, begin + ANNOTATIONS_AT_ONCE)
            yield replace(self._where(rows, rows, rows, rows), uses_both_bad=uses_both_bad)

    def _where(self, won: _Rows, level: _Rows, thumbed: _Rows, starred: _Rows) -> Observations:
        return Observations(
            self.chosen[won], self.rejected[won], self.strength[won], self.pair_author[won],
            self.tie_a[level], self.tie_b[level], self.both_bad[level], self.tie_author[level],
            self.thumbed[thumbed], self.thumbs[thumbed], self.thumbs_author[thumbed],
            self.starred[starred], self.stars[starred], self.stars_author[starred],
            self.star_values, self.author_ids,
            None if self.pair_weight is None else self.pair_weight[won],
            None if self.tie_weight is None else self.tie_weight[level],
        )  # fmt: skip

    @property
    def completions(self) -> Tensor:
        """Return (J,) a completion of each annotation, in the order of `log_likelihoods`."""
        return torch.cat([self.chosen, self.tie_a, self.thumbed, self.starred])

    @property
    def judged_by(self) -> Tensor:
        """Return (J,) the author of each annotation, in the same order."""
        return torch.cat([self.pair_author, self.tie_author, self.thumbs_author, self.stars_author])


@dataclass(frozen=True)
class Cuts:
    """Views into the flat parameter vector, in this order."""

    pair_gaps: Tensor
    thumbs_offset: Tensor
    both_bad_offset: Tensor
    star_first: Tensor
    star_gaps: Tensor
    thumbs_author: Tensor
    stars_author: Tensor
    reliability: Tensor  # of each author, less 1

    @property
    def pair_cuts(self) -> Tensor:
        return self.pair_gaps.cumsum(0)

    @property
    def star_cuts(self) -> Tensor:
        return torch.cat([self.star_first, self.star_first + self.star_gaps.cumsum(0)])


def observe(
    comparisons: Sequence[preferences.Comparison], ratings: Sequence[preferences.Rating], index_of: Mapping[int, int]
) -> Observations:
    """Return annotations as tensors; `index_of` gives the row of each completion's id."""
    thumbs = [r for r in ratings if r.thumbs is not None]
    stars = [r for r in ratings if r.stars is not None]
    ids = tuple(sorted({r.author for r in ratings} | {c.author for c in comparisons}))
    authors = {author: i for i, author in enumerate(ids)}
    star_values = tuple(sorted({int(r.stars or 0) for r in stars}))

    def each_pair() -> Iterator[tuple[float, ...]]:
        for c in comparisons:
            if pair := preferences.pair_of(c):
                ends = index_of[pair.chosen], index_of[pair.rejected]
                yield *ends, pair.strength or 0, authors[c.author], pair.weight

    def each_tie() -> Iterator[tuple[float, ...]]:
        for c in comparisons:
            if tie := preferences.tie_of(c):
                ends = index_of[tie.completion_a], index_of[tie.completion_b]
                yield *ends, tie.both_bad, authors[c.author], tie.weight

    chosen, rejected, strength, pair_author, pair_weight = _columns(each_pair(), "qqqqd")
    tie_a, tie_b, both_bad, tie_author, tie_weight = _columns(each_tie(), "qqdqd")
    thumbed, up, thumbs_author = _columns(
        ((index_of[r.completion], bool(r.thumbs), authors[r.author]) for r in thumbs), "qdq"
    )
    starred, rank, stars_author = _columns(
        ((index_of[r.completion], star_values.index(int(r.stars or 0)), authors[r.author]) for r in stars), "qqq"
    )
    return Observations(
        chosen=chosen,
        rejected=rejected,
        strength=strength,
        pair_author=pair_author,
        tie_a=tie_a,
        tie_b=tie_b,
        both_bad=both_bad,
        tie_author=tie_author,
        thumbed=thumbed,
        thumbs=up,
        thumbs_author=thumbs_author,
        starred=starred,
        stars=rank,
        stars_author=stars_author,
        star_values=star_values,
        author_ids=ids,
        pair_weight=pair_weight if (pair_weight != 1).any() else None,
        tie_weight=tie_weight if (tie_weight != 1).any() else None,
    )


def _columns(rows: Iterable[Iterable[float]], dtypes: str) -> list[Tensor]:
    """Return the columns of rows, which are read one at a time: "q" is int64, "d" float64."""
    columns: list[Any] = [array(code) for code in dtypes]
    for row in rows:
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    return [torch.from_numpy(np.array(column, dtype=column.typecode)) for column in columns]


def split_cuts(flat: Tensor, observed: Observations) -> Cuts:
    gaps = max(len(observed.star_values) - 2, 0)
    sizes = [3, 1, 1, 1, gaps, *[observed.authors] * 3]
    return Cuts(*flat.split(sizes))


def initial_cuts(observed: Observations, priors: Priors = TODAY) -> tuple[Tensor, list[tuple[float, float]]]:
    """Return a starting vector (float64) and the bounds of each entry."""
    gaps, a = max(len(observed.star_values) - 2, 0), observed.authors
    stars = [torch.full((1,), -gaps / 2), torch.ones(gaps)]
    start = torch.cat([torch.full((3,), 0.5), torch.zeros(2), *stars, torch.zeros(3 * a)])
    free = RELIABILITY_BOUNDS if priors.reliability else (0.0, 0.0)
    bounds = [GAP_BOUNDS] * 3 + [OFFSET_BOUNDS] * 3 + [GAP_BOUNDS] * gaps + [AUTHOR_BOUNDS] * (2 * a) + [free] * a
    return start.double(), bounds


def joint_nll(scores: Tensor, observed: Observations, cuts: Cuts) -> Tensor:
    """Return the summed negative log-likelihood of every annotation, a scalar. `scores` is (N,)."""
    return -log_likelihoods(scores, observed, cuts).sum()


def log_likelihoods(scores: Tensor, observed: Observations, cuts: Cuts) -> Tensor:
    """Return (J,) of each annotation: pairs, ties, thumbs, stars. The pairs of a ranking are weighed down to one
    annotation."""
    pairs, ties = _pairs(scores, observed, cuts), _ties(scores, observed, cuts)
    pairs = pairs if observed.pair_weight is None else pairs * observed.pair_weight
    ties = ties if observed.tie_weight is None else ties * observed.tie_weight
    return torch.cat([pairs, ties, _thumbs(scores, observed, cuts), _stars(scores, observed, cuts)])


def prior(flat: Tensor, observed: Observations, priors: Priors = TODAY) -> Tensor:
    """Return the negative log prior of the cuts: what authors differ by is normal, the rest nearly flat."""
    return 0.5 * (prior_precisions(observed, priors) * flat.square()).sum()


def prior_precisions(observed: Observations, priors: Priors = TODAY) -> Tensor:
    """Return the precision of each cut around 0, a flat vector (float64)."""
    flat = initial_cuts(observed, priors)[0].fill_(WEAK_PRECISION)
    cuts = split_cuts(flat, observed)  # views
    cuts.thumbs_author.add_(priors.shift**-2)
    cuts.stars_author.add_(priors.shift**-2)
    if priors.reliability:
        cuts.reliability.add_(priors.reliability**-2)
    return flat


def _pairs(scores: Tensor, o: Observations, cuts: Cuts) -> Tensor:
    margin = _read(scores[o.chosen] - scores[o.rejected], o.pair_author, cuts)
    t = cuts.pair_cuts
    lower = t[(o.strength - 1).clamp(min=0)]
    upper = torch.cat([t[1:], t[-1:]])[(o.strength - 1).clamp(min=0)]
    bounded = (o.strength == 1) | (o.strength == 2)
    gap = torch.where(bounded, upper - lower, 1.0)
    return logsigmoid(margin - lower) + torch.where(bounded, logsigmoid(upper - margin) + _log1mexp(gap), 0.0)


def _ties(scores: Tensor, o: Observations, cuts: Cuts) -> Tensor:
    a, b = (_read(scores[rows], o.tie_author, cuts) for rows in (o.tie_a, o.tie_b))
    t = cuts.pair_gaps[0]
    level = logsigmoid(a - b + t) + logsigmoid(b - a + t) + _log1mexp(2 * t)
    if not (o.both_bad.any() if o.uses_both_bad is None else o.uses_both_bad):
        return level  # where nobody used "both bad", its offset would only drift
    bad = cuts.both_bad_offset - (a + b) / 2
    return level + logsigmoid(torch.where(o.both_bad > 0, bad, -bad))


def _thumbs(scores: Tensor, o: Observations, cuts: Cuts) -> Tensor:
    up = _read(scores[o.thumbed], o.thumbs_author, cuts) - cuts.thumbs_offset + cuts.thumbs_author[o.thumbs_author]
    return logsigmoid(torch.where(o.thumbs > 0, up, -up))


def _stars(scores: Tensor, o: Observations, cuts: Cuts) -> Tensor:
    if len(o.star_values) < 2:
        return scores.new_zeros(len(o.starred))
    s = _read(scores[o.starred], o.stars_author, cuts) + cuts.stars_author[o.stars_author]
    edges, top = cuts.star_cuts, len(o.star_values) - 1
    above = torch.where(o.stars > 0, logsigmoid(s - edges[(o.stars - 1).clamp(min=0)]), 0.0)
    below = torch.where(o.stars < top, logsigmoid(edges[o.stars.clamp(max=top - 1)] - s), 0.0)
    inner = (o.stars > 0) & (o.stars < top)
    if not inner.any():
        return above + below
    gap = torch.where(inner, cuts.star_gaps[(o.stars - 1).clamp(0, max(top - 2, 0))], 1.0)
    return above + below + torch.where(inner, _log1mexp(gap), 0.0)


def _read(values: Tensor, author: Tensor, cuts: Cuts) -> Tensor:
    """Return what each author makes of a score."""
    return values * (1 + cuts.reliability[author])


def _log1mexp(x: Tensor) -> Tensor:
    """Return log(1 - exp(-x)) for x > 0: sigmoid(u) - sigmoid(v) = sigmoid(u) sigmoid(-v) (1 - exp(v - u))."""
    return torch.log(-torch.expm1(-x))
