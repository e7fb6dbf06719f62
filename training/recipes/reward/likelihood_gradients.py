"""Compute the joint likelihood of `feedback_likelihood` with its gradients, written out in numpy.

A head's fit asks for them some thirty times, and a run fits some hundred heads to a thousand annotations each: by
autograd most of that time went into its bookkeeping. With a = dl/dx of each annotation's log-likelihood l by what it
reads, all else is the chain rule; d/dx log sigmoid(x) = sigmoid(-x), and d/dx log(1 - exp(-x)) = 1 / (exp(x) - 1).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, log_expit
from torch import Tensor

from training.recipes.reward.feedback_likelihood import Observations, split_cuts

Array = NDArray[Any]


def nll_and_gradients(scores: Tensor, flat: Tensor, observed: Observations) -> tuple[float, Tensor, Tensor]:
    """Return the summed negative log-likelihood, and its gradients by the scores (N,) and by the flat vector of cuts
    (float64)."""
    total, by_scores, by_cuts = 0.0, torch.zeros_like(scores), torch.zeros_like(flat)
    for part in observed.parts():
        gradients = _Gradients(scores.detach().numpy(), flat.detach(), part)
        gradients.add_all()
        total -= gradients.log_likelihood
        for rows, values in gradients.by_scores:
            by_scores.index_add_(0, rows, torch.from_numpy(values), alpha=-1)
        by_cuts -= gradients.by_cuts
    return total, by_scores, by_cuts


class _Gradients:
    """The log-likelihood of some annotations, and its gradients: `by_scores` (rows, values), `by_cuts` flat.

    `cut` and `by_cut` are views of the flat vector and of its gradient, by the names of `Cuts`.
    """

    def __init__(self, scores: Array, flat: Tensor, observed: Observations) -> None:
        self.scores, self.o = scores, observed
        self.log_likelihood = 0.0
        self.by_scores: list[tuple[Tensor, Array]] = []
        self.by_cuts = torch.zeros_like(flat)
        self.cut, self.by_cut = (
            {name: part.numpy() for name, part in vars(split_cuts(vector, observed)).items()}
            for vector in (flat, self.by_cuts)
        )

    def add_all(self) -> None:
        self._add_pairs()
        self._add_ties()
        self._add_thumbs()
        if len(self.o.star_values) > 1:
            self._add_stars()

    def _add_pairs(self) -> None:
        o, t = self.o, self.cut["pair_gaps"].cumsum()
        apart = self.scores[o.chosen.numpy()] - self.scores[o.rejected.numpy()]
        reads = self._reads(o.pair_author)
        strength = o.strength.numpy()
        low = np.maximum(strength - 1, 0)
        high = np.minimum(low + 1, 2)
        bounded = (strength == 1) | (strength == 2)
        gap = np.where(bounded, t[high] - t[low], 1.0)
        over, under = apart * reads - t[low], t[high] - apart * reads
        weight = 1.0 if o.pair_weight is None else o.pair_weight.numpy()
        self._add(weight * (log_expit(over) + np.where(bounded, log_expit(under) + _log1mexp(gap), 0.0)))
        by_over, by_under = weight * expit(-over), weight * bounded * expit(-under)
        by_gap = weight * bounded / np.expm1(gap)
        by_t = np.bincount(high, by_under + by_gap, 3) - np.bincount(low, by_over + by_gap, 3)
        self.by_cut["pair_gaps"] += _of_those_summed(by_t)
        by_margin = by_over - by_under
        self.by_scores += [(o.chosen, by_margin * reads), (o.rejected, -by_margin * reads)]
        self._add_reads(o.pair_author, by_margin * apart)

    def _add_ties(self) -> None:
        o, t = self.o, self.cut["pair_gaps"][0]
        a, b = self.scores[o.tie_a.numpy()], self.scores[o.tie_b.numpy()]
        reads = self._reads(o.tie_author)
        apart = (a - b) * reads
        weight = np.ones(len(a)) if o.tie_weight is None else o.tie_weight.numpy()
        self._add(weight * (log_expit(apart + t) + log_expit(t - apart) + _log1mexp(2 * t)))
        by_over, by_under = weight * expit(-apart - t), weight * expit(apart - t)
        self.by_cut["pair_gaps"][0] += (by_over + by_under).sum() + weight.sum() * 2 / np.expm1(2 * t)
        by_a, by_b = by_over - by_under, by_under - by_over
        if o.uses_both_bad:  # as `parts` has found of all
            sign = np.where(o.both_bad.numpy() > 0, 1.0, -1.0)
            bad = sign * (self.cut["both_bad_offset"] - (a + b) * reads / 2)
            self._add(weight * log_expit(bad))
            by_bad = weight * sign * expit(-bad)
            self.by_cut["both_bad_offset"] += by_bad.sum()
            by_a, by_b = by_a - by_bad / 2, by_b - by_bad / 2
        self.by_scores += [(o.tie_a, by_a * reads), (o.tie_b, by_b * reads)]
        self._add_reads(o.tie_author, by_a * a + by_b * b)

    def _add_thumbs(self) -> None:
        o, authors = self.o, self.o.thumbs_author.numpy()
        s, reads = self.scores[o.thumbed.numpy()], self._reads(o.thumbs_author)
        sign = np.where(o.thumbs.numpy() > 0, 1.0, -1.0)
        up = sign * (s * reads - self.cut["thumbs_offset"] + self.cut["thumbs_author"][authors])
        self._add(log_expit(up))
        by_up = sign * expit(-up)
        self.by_cut["thumbs_offset"] -= by_up.sum()
        self.by_cut["thumbs_author"] += np.bincount(authors, by_up, o.authors)
        self.by_scores.append((o.thumbed, by_up * reads))
        self._add_reads(o.thumbs_author, by_up * s)

    def _add_stars(self) -> None:
        o, authors, stars = self.o, self.o.stars_author.numpy(), self.o.stars.numpy()
        s, reads = self.scores[o.starred.numpy()], self._reads(o.stars_author)
        gaps, top = self.cut["star_gaps"], len(o.star_values) - 1
        edges = np.concatenate([self.cut["star_first"], self.cut["star_first"] + gaps.cumsum()])
        seen = s * reads + self.cut["stars_author"][authors]
        low, high = np.maximum(stars - 1, 0), np.minimum(stars, top - 1)
        over, under = seen - edges[low], edges[high] - seen
        is_over, is_under = stars > 0, stars < top
        self._add(np.where(is_over, log_expit(over), 0.0) + np.where(is_under, log_expit(under), 0.0))
        by_over, by_under = is_over * expit(-over), is_under * expit(-under)
        by_edges = np.bincount(high, by_under, top) - np.bincount(low, by_over, top)
        self.by_cut["star_first"] += by_edges.sum()
        self.by_cut["star_gaps"] += _of_those_summed(by_edges[1:])
        inner = low[is_over & is_under]
        if len(inner):
            self._add(_log1mexp(gaps[inner]))
            self.by_cut["star_gaps"] += np.bincount(inner, 1 / np.expm1(gaps[inner]), len(gaps))
        by_seen = by_over - by_under
        self.by_cut["stars_author"] += np.bincount(authors, by_seen, o.authors)
        self.by_scores.append((o.starred, by_seen * reads))
        self._add_reads(o.stars_author, by_seen * s)

    def _add(self, log_likelihoods: Array) -> None:
        self.log_likelihood += float(log_likelihoods.sum())

    def _reads(self, authors: Tensor) -> Array:
        """Return what each annotation's author makes of a score, as a factor."""
        return np.asarray(1 + self.cut["reliability"][authors.numpy()])

    def _add_reads(self, authors: Tensor, by_reads: Array) -> None:
        self.by_cut["reliability"] += np.bincount(authors.numpy(), by_reads, self.o.authors)


def _of_those_summed(by_sums: Array) -> Array:
    """Return the gradients of numbers whose running sums have these."""
    return np.asarray(by_sums[::-1].cumsum()[::-1])


def _log1mexp(x: Any) -> Any:
    """Return log(1 - exp(-x)) for x > 0."""
    return np.log(-np.expm1(-x))
