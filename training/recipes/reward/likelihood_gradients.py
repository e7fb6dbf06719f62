"""Compute the joint likelihood of `feedback_likelihood` with its gradients, written out in numpy.

A head's fit asks for them some thirty times, and a run fits some hundred heads to a thousand annotations each: by
autograd most of that time went into its bookkeeping. With a = dl/dx of each annotation's log-likelihood l by what it
reads, all else is the chain rule; d/dx log sigmoid(x) = sigmoid(-x), and d/dx log(1 - exp(-x)) = 1 / (exp(x) - 1).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, log_expit
from torch import Tensor

from training.recipes.reward import feedback_likelihood
from training.recipes.reward.feedback_likelihood import Observations, split_cuts

Array = NDArray[Any]


class JointLikelihood:
    """The likelihood of annotations as a function of scores and cuts. What few annotations say is laid out once."""

    def __init__(self, observed: Observations) -> None:
        self._observed = observed
        is_one = len(observed) <= feedback_likelihood.ANNOTATIONS_AT_ONCE
        self._laid_out = [_Part(part) for part in observed.parts()] if is_one else None

    def nll_and_gradients(self, scores: Tensor, flat: Tensor) -> tuple[float, Tensor, Tensor]:
        """Return the summed negative log-likelihood, and its gradients by the scores (N,) and by the flat vector of
        cuts (float64)."""
        total, by_scores, by_cuts = 0.0, torch.zeros_like(scores), torch.zeros_like(flat)
        cut, by_cut = (
            {name: part.numpy() for name, part in vars(split_cuts(vector, self._observed)).items()}
            for vector in (flat.detach(), by_cuts)
        )
        parts: Iterable[_Part] = self._laid_out or map(_Part, self._observed.parts())
        for part in parts:
            gradients = _Gradients(scores.detach().numpy(), cut, by_cut, part)
            gradients.add_all()
            total -= gradients.log_likelihood
            for rows, values in gradients.by_scores:
                by_scores.index_add_(0, rows, torch.from_numpy(values), alpha=-1)
        return total, by_scores, by_cuts.neg_()


class _Part:
    """Annotations as arrays, with all that no score and no cut changes."""

    def __init__(self, o: Observations) -> None:
        self.o, self.authors, self.has_stars = o, o.authors, len(o.star_values) > 1
        self.chosen, self.rejected, self.pair_author = o.chosen.numpy(), o.rejected.numpy(), o.pair_author.numpy()
        strength = o.strength.numpy()
        self.pair_low = np.maximum(strength - 1, 0)
        self.pair_high = np.minimum(self.pair_low + 1, 2)
        self.pair_bounded = (strength == 1) | (strength == 2)
        self.pair_weight: Array | float = 1.0 if o.pair_weight is None else o.pair_weight.numpy()
        self.tie_a, self.tie_b, self.tie_author = o.tie_a.numpy(), o.tie_b.numpy(), o.tie_author.numpy()
        self.tie_weight = np.ones(len(self.tie_a)) if o.tie_weight is None else o.tie_weight.numpy()
        self.bad_sign = np.where(o.both_bad.numpy() > 0, 1.0, -1.0)
        self.thumbed, self.thumbs_author = o.thumbed.numpy(), o.thumbs_author.numpy()
        self.thumb_sign = np.where(o.thumbs.numpy() > 0, 1.0, -1.0)
        self.starred, self.stars_author = o.starred.numpy(), o.stars_author.numpy()
        stars, self.star_edges = o.stars.numpy(), len(o.star_values) - 1
        self.star_low, self.star_high = np.maximum(stars - 1, 0), np.minimum(stars, self.star_edges - 1)
        self.is_over, self.is_under = stars > 0, stars < self.star_edges
        self.inner_stars = self.star_low[self.is_over & self.is_under]


class _Gradients:
    """The log-likelihood of a part, and its gradients: `by_scores` (rows, values), `by_cut` by name, added to what is
    there. `cut` and `by_cut` are views of a flat vector, by the names of `Cuts`.
    """

    def __init__(self, scores: Array, cut: dict[str, Array], by_cut: dict[str, Array], part: _Part) -> None:
        self.scores, self.cut, self.by_cut, self.part = scores, cut, by_cut, part
        self.discrimination = 1 + cut["reliability"]
        self.log_likelihood = 0.0
        self.by_scores: list[tuple[Tensor, Array]] = []

    def add_all(self) -> None:
        self._add_pairs()
        self._add_ties()
        self._add_thumbs()
        if self.part.has_stars:
            self._add_stars()

    def _add_pairs(self) -> None:
        p, t = self.part, self.cut["pair_gaps"].cumsum()
        low, high, bounded, weight = p.pair_low, p.pair_high, p.pair_bounded, p.pair_weight
        apart = self.scores[p.chosen] - self.scores[p.rejected]
        reads = self.discrimination[p.pair_author]
        gap = np.where(bounded, t[high] - t[low], 1.0)
        over, under = apart * reads - t[low], t[high] - apart * reads
        self._add(weight * (log_expit(over) + np.where(bounded, log_expit(under) + _log1mexp(gap), 0.0)))
        by_over, by_under = weight * expit(-over), weight * bounded * expit(-under)
        by_gap = weight * bounded / np.expm1(gap)
        by_t = np.bincount(high, by_under + by_gap, 3) - np.bincount(low, by_over + by_gap, 3)
        self.by_cut["pair_gaps"] += _of_those_summed(by_t)
        by_margin = by_over - by_under
        self.by_scores += [(p.o.chosen, by_margin * reads), (p.o.rejected, -by_margin * reads)]
        self._add_reads(p.pair_author, by_margin * apart)

    def _add_ties(self) -> None:
        p, t, weight = self.part, self.cut["pair_gaps"][0], self.part.tie_weight
        a, b = self.scores[p.tie_a], self.scores[p.tie_b]
        reads = self.discrimination[p.tie_author]
        apart = (a - b) * reads
        self._add(weight * (log_expit(apart + t) + log_expit(t - apart) + _log1mexp(2 * t)))
        by_over, by_under = weight * expit(-apart - t), weight * expit(apart - t)
        self.by_cut["pair_gaps"][0] += (by_over + by_under).sum() + weight.sum() * 2 / np.expm1(2 * t)
        by_a, by_b = by_over - by_under, by_under - by_over
        if p.o.uses_both_bad:  # as `parts` has found of all
            bad = p.bad_sign * (self.cut["both_bad_offset"] - (a + b) * reads / 2)
            self._add(weight * log_expit(bad))
            by_bad = weight * p.bad_sign * expit(-bad)
            self.by_cut["both_bad_offset"] += by_bad.sum()
            by_a, by_b = by_a - by_bad / 2, by_b - by_bad / 2
        self.by_scores += [(p.o.tie_a, by_a * reads), (p.o.tie_b, by_b * reads)]
        self._add_reads(p.tie_author, by_a * a + by_b * b)

    def _add_thumbs(self) -> None:
        p, authors = self.part, self.part.thumbs_author
        s, reads = self.scores[p.thumbed], self.discrimination[authors]
        up = p.thumb_sign * (s * reads - self.cut["thumbs_offset"] + self.cut["thumbs_author"][authors])
        self._add(log_expit(up))
        by_up = p.thumb_sign * expit(-up)
        self.by_cut["thumbs_offset"] -= by_up.sum()
        self.by_cut["thumbs_author"] += np.bincount(authors, by_up, p.authors)
        self.by_scores.append((p.o.thumbed, by_up * reads))
        self._add_reads(authors, by_up * s)

    def _add_stars(self) -> None:
        p, authors, low, high = self.part, self.part.stars_author, self.part.star_low, self.part.star_high
        s, reads = self.scores[p.starred], self.discrimination[authors]
        gaps = self.cut["star_gaps"]
        edges = np.concatenate([self.cut["star_first"], self.cut["star_first"] + gaps.cumsum()])
        seen = s * reads + self.cut["stars_author"][authors]
        over, under = seen - edges[low], edges[high] - seen
        self._add(np.where(p.is_over, log_expit(over), 0.0) + np.where(p.is_under, log_expit(under), 0.0))
        by_over, by_under = p.is_over * expit(-over), p.is_under * expit(-under)
        by_edges = np.bincount(high, by_under, p.star_edges) - np.bincount(low, by_over, p.star_edges)
        self.by_cut["star_first"] += by_edges.sum()
        self.by_cut["star_gaps"] += _of_those_summed(by_edges[1:])
        if len(p.inner_stars):
            self._add(_log1mexp(gaps[p.inner_stars]))
            by_gaps = 1 / np.expm1(gaps[p.inner_stars])
            self.by_cut["star_gaps"] += np.bincount(p.inner_stars, by_gaps, len(gaps))
        by_seen = by_over - by_under
        self.by_cut["stars_author"] += np.bincount(authors, by_seen, p.authors)
        self.by_scores.append((p.o.starred, by_seen * reads))
        self._add_reads(authors, by_seen * s)

    def _add(self, log_likelihoods: Array) -> None:
        self.log_likelihood += float(log_likelihoods.sum())

    def _add_reads(self, authors: Array, by_reads: Array) -> None:
        self.by_cut["reliability"] += np.bincount(authors, by_reads, self.part.authors)


def _of_those_summed(by_sums: Array) -> Array:
    """Return the gradients of numbers whose running sums have these."""
    return np.asarray(by_sums[::-1].cumsum()[::-1])


def _log1mexp(x: Any) -> Any:
    """Return log(1 - exp(-x)) for x > 0."""
    return np.log(-np.expm1(-x))
