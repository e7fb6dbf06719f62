import pytest
import torch

from training.rl.kl import KLController, kl_per_token


def test_estimators_by_hand():
    new, ref = torch.tensor([-1.0]), torch.tensor([-1.5])
    assert float(kl_per_token(new, ref, "k1")) == 0.5
    assert float(kl_per_token(new, ref, "k2")) == 0.125
    assert float(kl_per_token(new, ref, "k3")) == pytest.approx(0.1065307)  # exp(-0.5) - 1 + 0.5


def test_k1_and_k3_average_to_the_true_kl():
    policy, reference = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.3, 0.3, 0.4])
    exact = float((policy * (policy / reference).log()).sum())
    for name in ("k1", "k3"):
        assert float((policy * kl_per_token(policy.log(), reference.log(), name)).sum()) == pytest.approx(exact)


def test_an_unknown_estimator_is_named():
    with pytest.raises(ValueError, match="'k4'"):
        kl_per_token(torch.zeros(1), torch.zeros(1), "k4")


def test_the_price_rises_above_the_target_and_falls_below_by_at_most_a_fifth():
    controller = KLController(0.1, target=6.0, horizon=100)
    controller.update(kl=600.0, episodes=50)  # error clipped at 0.2: 0.1 * (1 + 0.2 * 50 / 100)
    assert controller.coefficient == pytest.approx(0.11)
    controller.update(kl=5.4, episodes=50)  # error -0.1
    assert controller.coefficient == pytest.approx(0.11 * 0.95)


def test_a_fixed_price_stays():
    controller = KLController(0.05)
    controller.update(kl=100.0, episodes=1000)
    assert controller.coefficient == 0.05
