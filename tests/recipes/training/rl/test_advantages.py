import numpy as np
import pytest
import torch
from torch.testing import assert_close

from training.rl.advantages import (
    completion_mask,
    explained_variance,
    gae,
    masked_mean,
    ratio_and_error,
    token_rewards,
    whiten,
)

MASK = torch.tensor([[True, True, True], [True, False, False]])


def test_the_mask_is_true_on_as_many_tokens_as_were_drawn():
    assert completion_mask(torch.tensor([3, 1]), 3).tolist() == MASK.tolist()


def test_the_score_lands_on_the_last_valid_token_and_never_on_a_pad():
    kl = torch.tensor([[0.1, 0.2, 0.3], [0.4, 9.0, 9.0]])
    rewards = token_rewards(torch.tensor([5.0, 7.0]), kl, MASK, kl_coef=0.5)
    assert_close(rewards, torch.tensor([[-0.05, -0.1, 4.85], [6.8, 0.0, 0.0]]))


def test_advantages_by_hand():
    # delta = [0 + 2 - 1, 0 + 3 - 2, 10 - 3] = [1, 1, 7]; A2 = 7, A1 = 1 + 0.5 * 7 = 4.5, A0 = 1 + 0.5 * 4.5 = 3.25
    rewards = torch.tensor([[0.0, 0.0, 10.0], [4.0, 99.0, 99.0]])
    values = torch.tensor([[1.0, 2.0, 3.0], [1.5, 99.0, 99.0]])
    advantages, returns = gae(rewards, values, MASK, gamma=1.0, lam=0.5)
    assert_close(advantages, torch.tensor([[3.25, 4.5, 7.0], [2.5, 0.0, 0.0]]))
    assert_close(returns, torch.tensor([[4.25, 6.5, 10.0], [4.0, 0.0, 0.0]]))


def test_a_discount_applies_to_the_following_value():
    advantages, _ = gae(torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, 4.0]]), torch.ones(1, 2).bool(), 0.5, 1.0)
    assert_close(advantages, torch.tensor([[-1.5, -3.0]]))  # A1 = 1 - 4; A0 = 0.5 * 4 - 2 + 0.5 * -3


def test_with_lambda_one_the_return_is_the_sum_of_rewards_to_come():
    rewards = torch.tensor([[1.0, 2.0, 3.0]])
    _, returns = gae(rewards, torch.randn(1, 3), torch.ones(1, 3).bool(), 1.0, 1.0)
    assert_close(returns, torch.tensor([[6.0, 5.0, 3.0]]))


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (0.97, 0.0), (0.97, 1.0)])
def test_the_return_is_the_lambda_weighted_mean_of_n_step_returns(gamma: float, lam: float):
    # Sutton & Barto's definition, summed forward in numpy, where the code runs backward over temporal differences
    random = np.random.default_rng(0)
    rewards, values, lengths = random.normal(size=(4, 6)), random.normal(size=(4, 6)), [6, 1, 3, 5]
    mask = completion_mask(torch.tensor(lengths), 6)
    _, returns = gae(torch.tensor(rewards), torch.tensor(values), mask, gamma, lam)
    for row, T in enumerate(lengths):
        for t in range(T):
            n_step = [
                sum(gamma**k * rewards[row, t + k] for k in range(n))
                + (gamma**n * values[row, t + n] if t + n < T else 0)
                for n in range(1, T - t + 1)
            ]
            weights = [(1 - lam) * lam**k for k in range(T - t - 1)] + [lam ** (T - t - 1)]
            assert float(returns[row, t]) == pytest.approx(float(np.dot(weights, n_step)))
    assert not returns[~mask].any()


def test_whitening_is_numpys_z_score_whatever_stands_after_the_end():
    random = np.random.default_rng(1)
    values, lengths = random.normal(3, 2, size=(5, 7)), [7, 2, 1, 4, 6]
    mask = completion_mask(torch.tensor(lengths), 7)
    valid = np.concatenate([row[:n] for row, n in zip(values, lengths, strict=True)])
    spoilt = torch.tensor(values).masked_fill(~mask, 1e9)
    assert_close(whiten(spoilt, mask)[mask], torch.tensor((valid - valid.mean()) / valid.std()))


def test_whitening_looks_at_valid_tokens_only():
    values = torch.tensor([[1.0, 3.0, 5.0], [7.0, 1e6, -1e6]])
    whitened = whiten(values, MASK)
    assert_close(whitened[MASK], torch.tensor([-3.0, -1.0, 1.0, 3.0]) / 5**0.5)
    assert_close(whitened[~MASK], torch.zeros(2))
    assert_close(whiten(values, MASK, shift_mean=False)[MASK].mean(), torch.tensor(4.0))


def test_the_mean_is_over_tokens_and_not_over_rows():
    values = torch.tensor([[1.0, 1.0, 1.0], [5.0, 0.0, 0.0]])
    assert float(masked_mean(values, MASK)) == 2.0


def test_explained_variance_of_perfect_and_of_constant_values():
    returns = torch.tensor([[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]])
    assert explained_variance(returns, returns, MASK) == 1.0
    assert abs(explained_variance(torch.zeros(2, 3), returns, MASK)) < 1e-6
    assert explained_variance(returns, torch.ones(2, 3), MASK) == 0.0


def test_the_error_of_a_mean_over_tokens_is_what_answers_drawn_anew_spread():
    generator = torch.Generator().manual_seed(5)

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        lengths = torch.randint(5, 20, (64,), generator=generator)
        levels = torch.randn(64, 1, generator=generator)  # tokens of one answer are alike
        values = levels + 0.5 * torch.randn(64, 20, generator=generator)
        return (values * completion_mask(lengths, 20)).sum(1), lengths

    ratio_and_errors = [ratio_and_error(*batch()) for _ in range(300)]
    spread = torch.tensor([mean for mean, _ in ratio_and_errors]).std()
    assert float(spread) == pytest.approx(sum(error for _, error in ratio_and_errors) / 300, rel=0.1)
