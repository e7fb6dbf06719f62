import math

import torch
from torch.testing import assert_close

from training.rl.losses import policy_loss, value_loss

ALL = torch.ones(1, 3).bool()


def test_before_any_update_the_ratio_is_one_and_the_loss_minus_the_mean_advantage():
    logprobs = torch.tensor([[-1.0, -2.0, -3.0]])
    found = policy_loss(logprobs, logprobs, torch.tensor([[1.0, 2.0, 6.0]]), ALL)
    assert_close(found.loss, torch.tensor(-3.0))
    assert (found.ratio_mean, found.ratio_max, found.clip_frac, found.approx_kl) == (1.0, 1.0, 0.0, 0.0)


def test_the_clip_holds_gains_back_and_lets_losses_through():
    ratios = torch.tensor([[1.5, 0.5, 1.5]])
    found = policy_loss(ratios.log(), torch.zeros(1, 3), torch.tensor([[1.0, 1.0, -1.0]]), ALL, clip=0.2)
    # gain above the clip counts 1.2; a shrunken good action counts its 0.5; a grown bad action counts all of 1.5
    assert_close(found.loss, torch.tensor(-(1.2 + 0.5 - 1.5) / 3))
    assert math.isclose(found.clip_frac, 1 / 3, rel_tol=1e-6)


def test_a_clipped_gain_gives_no_gradient():
    logprobs = torch.tensor([[math.log(1.5), 0.0, 0.0]], requires_grad=True)
    policy_loss(logprobs, torch.zeros(1, 3), torch.tensor([[1.0, 0.0, 0.0]]), ALL).loss.backward()
    assert_close(logprobs.grad, torch.zeros(1, 3))


def test_padding_counts_for_nothing():
    mask = torch.tensor([[True, False, False]])
    found = policy_loss(torch.tensor([[0.0, 5.0, -5.0]]), torch.zeros(1, 3), torch.tensor([[2.0, 9.0, 9.0]]), mask)
    assert_close(found.loss, torch.tensor(-2.0))
    assert found.ratio_max == 1.0


def test_a_huge_log_ratio_stays_finite():
    found = policy_loss(torch.full((1, 3), 500.0), torch.zeros(1, 3), -torch.ones(1, 3), ALL)
    assert torch.isfinite(found.loss)


def test_the_value_loss_takes_the_worse_of_free_and_clipped():
    values, old, returns = torch.tensor([[1.0, 0.1]]), torch.zeros(1, 2), torch.ones(1, 2)
    # free: 0, 0.81; clipped to 0.2, 0.1: 0.64, 0.81
    mask = torch.ones(1, 2).bool()
    assert_close(value_loss(values, old, returns, mask, clip=0.2), torch.tensor(0.5 * (0.64 + 0.81) / 2))
    assert_close(value_loss(values, old, returns, mask, clip=None), torch.tensor(0.5 * 0.81 / 2))


def test_one_odd_token_does_not_end_an_update():
    old = torch.full((32, 64), -2.0)
    new = old + 0.05
    new[3, 3] = old[3, 3] + 20.0
    found = policy_loss(new, old, torch.ones(32, 64), torch.ones(32, 64).bool())
    assert found.approx_kl < 0.01  # nats a token; k3 of that one token alone is 236,000
