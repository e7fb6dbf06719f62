"""Importance weights between what drew the tokens and what learns from them."""

import pytest
import torch
from torch.testing import assert_close

from training.rl.importance import importance_weights, mismatch
from training.rl.losses import policy_loss

LEARNER = torch.tensor([[0.5, 0.2, 0.1, 0.9]]).log()
SAMPLER = torch.tensor([[0.25, 0.4, 0.01, 0.1]]).log()
MASK = torch.tensor([[True, True, True, False]])


def test_weights_are_learner_over_sampler_held_at_the_cap():
    assert_close(importance_weights(LEARNER, SAMPLER, MASK, 3.0), torch.tensor([[2.0, 0.5, 3.0, 1.0]]))


def test_no_gradient_flows_through_the_weights():
    learner = LEARNER.clone().requires_grad_()
    assert not importance_weights(learner, SAMPLER, MASK, 3.0).requires_grad


def test_the_mismatch_by_hand():
    apart = mismatch(LEARNER, SAMPLER, MASK, 3.0)
    logs = torch.tensor([2.0, 0.5, 10.0]).log()
    assert apart.gap == pytest.approx(float(logs.abs().mean()))
    assert apart.kl == pytest.approx(float((logs.exp() - 1 - logs).mean()), rel=1e-5)
    assert apart.truncated == pytest.approx(1 / 3)
    assert apart.weight == pytest.approx((2 + 0.5 + 3) / 3)


def test_without_a_cap_nothing_is_truncated():
    apart = mismatch(LEARNER, SAMPLER, MASK, 0.0)
    assert apart.truncated == 0 and apart.weight == pytest.approx((2 + 0.5 + 10) / 3)


def test_two_that_agree_are_not_apart():
    apart = mismatch(LEARNER, LEARNER, MASK, 2.0)
    assert (apart.gap, apart.kl, apart.truncated, apart.weight) == (0, 0, 0, 1)


def test_an_impossible_token_gives_a_finite_weight():
    assert torch.isfinite(importance_weights(torch.zeros(1, 1), torch.full((1, 1), -500.0), MASK[:, :1], 1e9)).all()


# Every token as often as the sampler draws it in twenty draws: sums over them are expectations, without chance.
DRAWS = torch.tensor([0] * 10 + [1] * 6 + [2] * 3 + [3])
OF_SAMPLER = torch.tensor([10.0, 6.0, 3.0, 1.0]) / 20
SCORES = torch.tensor([1.0, -2.0, 0.5, 3.0])


def policy_gradient(logits: torch.Tensor, cap: float | None) -> torch.Tensor:
    """Return the gradient of the mean loss over the sampler's draws, weighted (cap) or not (None)."""
    logits = logits.clone().requires_grad_()
    logprobs, drawn = logits.log_softmax(-1)[DRAWS][None], OF_SAMPLER.log()[DRAWS][None]
    mask = torch.ones(1, len(DRAWS), dtype=torch.bool)
    weights = None if cap is None else importance_weights(logprobs, drawn, mask, cap)
    policy_loss(logprobs, logprobs.detach(), SCORES[DRAWS][None], mask, 0.2, weights).loss.backward()
    assert logits.grad is not None
    return logits.grad


def expected_gradient(logits: torch.Tensor, of_draws: torch.Tensor) -> torch.Tensor:
    """Return -sum of p(token) * score * gradient of log learner(token)."""
    learner = logits.softmax(-1)
    return -(of_draws * SCORES) @ (torch.eye(4) - learner)


def test_weighted_draws_of_another_policy_give_the_learners_own_gradient():
    logits = torch.tensor([0.3, 0.9, -0.2, 1.1])
    learner = logits.softmax(-1)
    assert_close(policy_gradient(logits, 1e6), expected_gradient(logits, learner))
    assert not torch.allclose(policy_gradient(logits, None), expected_gradient(logits, learner), atol=0.05)


def test_truncation_costs_what_lies_above_the_cap_and_no_more():
    logits, cap = torch.tensor([0.3, 0.9, -0.2, 1.1]), 2.0
    kept = torch.minimum(logits.softmax(-1), cap * OF_SAMPLER)
    assert (kept < logits.softmax(-1)).tolist() == [False, False, False, True]
    assert_close(policy_gradient(logits, cap), expected_gradient(logits, kept))
