"""The gradients that are written out are those of the likelihood itself, by autograd."""

from __future__ import annotations

import random

import pytest
import torch

from annotate.data.datasets.preferences import Comparison, Rating
from training.recipes.reward import feedback_likelihood as likelihood
from training.recipes.reward.likelihood_gradients import JointLikelihood

ANSWERS, AUTHORS = 12, 3


def observed(stars: range, winners: tuple[str, ...], weights: tuple[float, ...]) -> likelihood.Observations:
    draw = random.Random(3)
    comparisons = []
    for _ in range(60):
        winner, (a, b) = draw.choice(winners), draw.sample(range(ANSWERS), 2)
        strength = draw.choice((None, 1, 2, 3)) if winner.startswith("model") else None
        comparisons.append(
            Comparison(1, a, b, winner, strength, author=draw.randrange(AUTHORS), weight=draw.choice(weights))
        )
    ratings = [
        Rating(
            draw.randrange(ANSWERS), thumbs=draw.choice((True, False, None)),
            stars=draw.choice(stars) if stars else None, author=draw.randrange(AUTHORS),
        )
        for _ in range(60)
    ]  # fmt: skip
    return likelihood.observe(comparisons, ratings, {i: i for i in range(ANSWERS)})


ALL = ("model_a", "model_b", "tie", "both_bad")


@pytest.mark.parametrize(
    ("stars", "winners", "weights"),
    [
        (range(1, 6), ALL, (1.0,)),
        (range(1, 6), ALL, (1.0, 1 / 3)),
        (range(1, 3), ("model_a", "model_b", "tie"), (1.0,)),
        (range(0), ("model_a",), (1.0,)),
        (range(4, 5), ("both_bad",), (0.5, 1.0)),
    ],
)
def test_loss_and_gradients_are_those_of_the_likelihood(stars: range, winners, weights, monkeypatch):
    said = observed(stars, winners, weights)
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(ANSWERS, generator=generator, dtype=torch.float64)
    start, _ = likelihood.initial_cuts(said)
    flat = start + 0.3 * torch.rand(len(start), generator=generator, dtype=torch.float64)
    points = scores.clone().requires_grad_(), flat.clone().requires_grad_()
    loss = likelihood.joint_nll(points[0], said, likelihood.split_cuts(points[1], said))
    by_scores, by_cuts = torch.autograd.grad(loss, points)
    assert by_scores.abs().sum() > 0
    for at_once in (likelihood.ANNOTATIONS_AT_ONCE, 7):
        monkeypatch.setattr(likelihood, "ANNOTATIONS_AT_ONCE", at_once)
        found = JointLikelihood(said).nll_and_gradients(scores, flat)
        assert found[0] == pytest.approx(loss.item(), rel=1e-12)
        torch.testing.assert_close(found[1], by_scores, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(found[2], by_cuts, rtol=1e-10, atol=1e-12)
