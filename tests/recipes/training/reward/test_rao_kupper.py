"""Wins, ties and losses by the reward model's own likelihood, wherever a probability of its is shown or judged."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from annotate.data.datasets.preferences import Comparison
from tests.support.evaluation import reward_models
from tests.support.training import ppo_runs
from training.recipes.reward import feedback_likelihood as likelihood
from training.recipes.reward import rao_kupper
from training.recipes.reward import reward_accuracy as reward_measures
from training.recipes.reward.reward_accuracy import Judged
from training.recipes.reward.reward_model import RewardModel

NONE = np.zeros(0, dtype=np.int64)


def test_outcomes_are_those_worked_out_by_hand():
    """d = ln 3, t = ln 2: σ(ln 1.5) = 3/5, σ(-ln 6) = 1/7, and the rest is 9/35."""
    outcomes = rao_kupper.outcomes(math.log(3), math.log(2))
    assert [float(p) for p in outcomes] == pytest.approx([3 / 5, 9 / 35, 1 / 7])
    assert float(rao_kupper.expected_points(math.log(3), math.log(2))) == pytest.approx(3 / 5 + 9 / 70)


def test_outcomes_are_the_shares_of_a_logistic_reading_between_its_cuts():
    d, t = np.array([-2.0, 0.0, 0.7, 3.0]), 0.8
    reading = stats.logistic(loc=d)
    outcomes = rao_kupper.outcomes(d, t)
    np.testing.assert_allclose(outcomes.win, reading.sf(t))
    np.testing.assert_allclose(outcomes.loss, reading.cdf(-t))
    np.testing.assert_allclose(outcomes.tie, [integrate.quad(stats.logistic(loc=x).pdf, -t, t)[0] for x in d])


def test_they_sum_to_one_and_far_out_keep_their_digits():
    outcomes = rao_kupper.outcomes(np.array([-800.0, -40.0, 0.0, 40.0, 800.0]), 1.3)
    np.testing.assert_allclose(sum(outcomes), 1.0)
    assert outcomes.tie[3] == pytest.approx(math.exp(-40) * (math.exp(1.3) - math.exp(-1.3)), rel=1e-9)
    with pytest.raises(ValueError, match="at least 0"):
        rao_kupper.outcomes(0.0, -0.1)


def test_without_ties_it_is_bradley_terry():
    np.testing.assert_allclose(rao_kupper.expected_points([-1.0, 0.5], 0.0), 1 / (1 + np.exp([1.0, -0.5])))


def test_they_are_the_probabilities_of_the_likelihood_that_was_fitted():
    scores, t = torch.tensor([1.1, 0.4], dtype=torch.float64), 0.6
    for winner, wanted in zip(("model_a", "tie", "model_b"), rao_kupper.outcomes(0.7, t), strict=True):
        row = Comparison(prompt_id=1, completion_a=0, completion_b=1, winner=winner, author=1)
        observed = likelihood.observe([row], [], {0: 0, 1: 1})
        flat, _ = likelihood.initial_cuts(observed)
        flat[0] = t
        told = likelihood.log_likelihoods(scores, observed, likelihood.split_cuts(flat, observed)).exp()
        assert float(told[0]) == pytest.approx(float(wanted))


# Calibration


def judged(wins: int, ties: int, losses: int) -> Judged:
    """Comparisons of answer 0 with answer 1."""
    first, second = np.zeros(wins, dtype=int), np.ones(losses, dtype=int)
    level = np.zeros(ties, dtype=int)
    chosen, rejected = np.concatenate([first, second]), np.concatenate([first + 1, second - 1])
    return Judged(chosen, rejected, NONE, np.zeros(0), NONE, np.zeros(0), level, level + 1)


def test_a_model_that_is_right_about_ties_is_calibrated():
    """Of 35 comparisons at d = ln 3 and t = ln 2 the first answer wins 21, 9 are ties, 5 it loses."""
    calibration = reward_measures.calibration(np.array([math.log(3), 0.0]), judged(21, 9, 5), threshold=math.log(2))
    assert calibration["error"] == pytest.approx(0.0, abs=1e-12)
    assert calibration["bins"] == [{"predicted": pytest.approx(51 / 70), "observed": pytest.approx(51 / 70), "n": 35}]
    assert calibration["ties"] == {"predicted": pytest.approx(9 / 35), "observed": pytest.approx(9 / 35), "n": 35}


def test_ties_that_it_does_not_expect_count_against_it():
    sure = reward_measures.calibration(np.array([5.0, 0.0]), judged(5, 5, 0), threshold=0.1)
    points = float(rao_kupper.expected_points(5.0, 0.1))
    assert sure["error"] == pytest.approx(points - 0.75)
    assert sure["ties"]["observed"] == 0.5 and sure["ties"]["predicted"] < 0.01


def test_without_comparisons_there_is_no_calibration():
    calibration = reward_measures.calibration(np.zeros(2), judged(0, 0, 0), threshold=0.3)
    assert calibration == {"bins": [], "error": None, "ties": None}


# What people are asked beside


def test_a_review_expects_wins_and_half_of_the_ties(tmp_path: Path, model: Path):
    place = reward_models.make(tmp_path / "judge")
    judge = RewardModel.load(place)
    assert judge.tie_threshold == 0.0, "one that is older than this reads as Bradley-Terry"
    judge.tie_threshold = 1.5
    judge.save(place)
    assert RewardModel.load(place).tie_threshold == 1.5
    run = ppo_runs.make_run(tmp_path / "run", model, reward_model=place, review_every=1, steps=2, review_samples=4)
    rows = ppo_runs.carry_out(run).reviews()
    assert rows
    for row in rows:
        difference = row["policy"]["score"] - row["parent"]["score"]
        assert row["predicted"] == pytest.approx(float(rao_kupper.expected_points(difference, 1.5)))
