"""One decision from all annotations: is a score told from chance?"""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import pytest
import torch

from annotate.data.datasets.preferences import Comparison, Rating
from training.recipes.reward import evidence as reward_evidence
from training.recipes.reward import feedback_likelihood as likelihood
from training.recipes.reward.likelihood_gradients import JointLikelihood


def said(seed: int, slope: float, *, prompts: int = 30, pairs_slope: float | None = None):
    """(scores, annotations, prompts): pairs and thumbs that follow `slope` times the score."""
    rng = random.Random(seed)
    scores = torch.from_numpy(np.random.default_rng(seed).normal(size=prompts * 4))
    comparisons, ratings = [], []

    def yes(logit: float) -> bool:
        return rng.random() < 1 / (1 + math.exp(-logit))

    for prompt in range(prompts):
        ids = range(4 * prompt, 4 * prompt + 4)
        for a, b in ((ids[0], ids[1]), (ids[2], ids[3])):
            logit = (slope if pairs_slope is None else pairs_slope) * (scores[a] - scores[b]).item()
            comparisons.append(Comparison(prompt, a, b, "model_a" if yes(logit) else "model_b"))
        ratings += [Rating(i, thumbs=yes(slope * scores[i].item() + 1), author=rng.randrange(3)) for i in ids]
    observed = likelihood.observe(comparisons, ratings, {i: i for i in range(4 * prompts)})
    return scores, observed, torch.arange(4 * prompts) // 4


@pytest.mark.parametrize(("slope", "least", "most"), [(0.0, 0, 3), (0.3, 8, 24), (1.0, 24, 24)])
def test_what_follows_nothing_is_hardly_ever_told_from_chance_and_what_follows_the_score_is(slope, least, most):
    estimates = [reward_evidence.slope(*said(seed, slope)) for seed in range(24)]
    assert least <= sum(e.lower > 0 for e in estimates) <= most
    assert sum(e.lower <= slope <= e.upper for e in estimates) >= 21
    assert sum(e.value for e in estimates) / 24 == pytest.approx(slope, abs=0.15)


def test_a_score_that_is_too_sure_has_a_slope_below_one_and_is_no_less_told_from_chance():
    scores, observed, prompts = said(0, 1.0)
    plain, sure = (reward_evidence.slope(by * scores, observed, prompts) for by in (1.0, 4.0))
    assert sure.value == pytest.approx(plain.value / 4, rel=1e-3)
    assert (sure.lower > 0) == (plain.lower > 0)


def test_thumbs_that_follow_a_score_outweigh_pairs_that_do_not():
    scores, observed, prompts = said(3, 1.0, pairs_slope=0.0, prompts=60)
    pairs = reward_evidence.slope(scores, observed.only(pairs=True), prompts)
    assert pairs.lower < 0 < pairs.upper
    assert reward_evidence.slope(scores, observed, prompts).lower > 0


def test_annotations_that_repeat_within_a_prompt_are_no_more_evidence():
    scores, observed, prompts = said(1, 0.5)
    few = reward_evidence.slope(scores, observed.among(prompts < 10), prompts)
    assert few.prompts == 10
    twice = torch.cat([observed.thumbed, observed.thumbed])
    doubled = likelihood.Observations(
        **{
            **observed.__dict__,
            "thumbed": twice,
            "thumbs": observed.thumbs.repeat(2),
            "thumbs_author": observed.thumbs_author.repeat(2),
        }
    )
    once, again = (reward_evidence.slope(scores, o.only(ratings=True), prompts) for o in (observed, doubled))
    assert again.upper - again.lower == pytest.approx(once.upper - once.lower, rel=0.1)


def test_one_prompt_or_one_score_tells_nothing():
    scores, observed, prompts = said(0, 1.0)
    assert reward_evidence.slope(scores, observed.among(prompts == 0), prompts) is None
    assert reward_evidence.slope(torch.ones_like(scores), observed, prompts) is None
    assert reward_evidence.slope(scores, observed.among(prompts < 0), prompts) is None


def test_annotations_taken_in_parts_are_the_evidence_that_they_are_together(monkeypatch):
    """Ties, too, where one part alone calls them "both bad"."""
    scores, observed, prompts = said(2, 1.0)
    ties = [Comparison(p, 4 * p, 4 * p + 1, "both_bad" if p == 2 else "tie") for p in range(20)]
    tied = likelihood.observe(ties, [], {i: i for i in range(len(scores))})
    names = ("tie_a", "tie_b", "both_bad", "tie_author")
    observed = dataclasses.replace(observed, **{name: getattr(tied, name) for name in names})
    together = reward_evidence.slope(scores, observed, prompts)
    cuts = likelihood.initial_cuts(observed)[0] + 0.1
    whole = JointLikelihood(observed).nll_and_gradients(scores, cuts)
    monkeypatch.setattr(likelihood, "ANNOTATIONS_AT_ONCE", 7)
    in_parts = reward_evidence.slope(scores, observed, prompts)
    assert dataclasses.astuple(in_parts) == pytest.approx(dataclasses.astuple(together), rel=1e-4)
    for value, of_parts in zip(whole, JointLikelihood(observed).nll_and_gradients(scores, cuts), strict=True):
        torch.testing.assert_close(of_parts, value)
