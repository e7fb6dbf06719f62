"""The second head beside PPO's score: what the policy gains by the first head's errors stops the run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from tests.support.training.ppo_runs import carry_out, choose, make_run, metrics, same_weights
from training import configs
from training.recipes.common import loading
from training.recipes.ppo import gold_score as ppo_gold
from training.recipes.ppo.gold_score import GoldScale
from training.recipes.reward.reward_model import RewardModel
from training.runs.figures import health

FAST = {
    "steps": 8, "learning_rate": 3e-3, "kl_coef": 0.0, "kl_target": 0.0, "max_approx_kl": 0.0, "batch_size": 16,
    "calibration_episodes": 32, "learning_rate_schedule": "constant", "max_length_ratio": 100.0,
    "min_length_ratio": 0.0, "max_surprise_rise": 0.0, "max_entropy_rise": 0.0, "min_entropy_ratio": 0.0,
    "max_foreign_share": 0.0, "min_eos_ratio": 0.0,
}  # fmt: skip


def judge(folder: Path, model: Path, gold: torch.Tensor | None) -> Path:
    """A linear head on the mean of the model's layer 2, and `gold` times it as the second."""
    weight = torch.randn(64, generator=torch.Generator().manual_seed(1)) / 8
    second = {} if gold is None else {"gold_weight": weight * gold, "gold_bias": torch.zeros(1)}
    folder.mkdir(parents=True)
    RewardModel(
        "head", ((2, "mean"),), weight, torch.tensor([0.3]), torch.zeros(64), torch.ones(64), str(model),
        loading.weights_hash(model), 64, 64, 0.1, 0.5, -3.0, held_out={"beats_chance": True}, **second,
    ).save(folder)  # fmt: skip
    return folder


# The figures


def test_what_the_score_foretells_is_the_regression_on_the_parents_answers():
    generator = torch.Generator().manual_seed(2)
    scores = torch.randn(50, generator=generator) * 3 + 1
    gold = 0.4 * scores + torch.randn(50, generator=generator)
    scale = GoldScale.of(scores, gold)
    wanted = stats.linregress(stats.zscore(scores.numpy(), ddof=1), stats.zscore(gold.numpy(), ddof=1))
    assert scale.slope == pytest.approx(wanted.slope, abs=1e-5)
    n = 50
    predicted = wanted.slope * stats.zscore(scores.numpy(), ddof=1)
    left = stats.zscore(gold.numpy(), ddof=1) - predicted
    assert scale.residual == pytest.approx(np.sqrt((left**2).sum() / (n - 2)), abs=1e-5)


def test_a_gap_worked_out_by_hand():
    """Slope 0.5, residual 0.6 over 36 answers; four answers that score 2, 2, 2, 2 and are behind by 1, 1, 3, 3."""
    scale = GoldScale(0.0, 1.0, 0.0, 1.0, 0.5, 0.6, 36)
    found = ppo_gold.compare(scale, torch.full((4,), 2.0), torch.tensor([0.0, 0.0, -2.0, -2.0]), 0.0)
    assert (found.score, found.gold, found.behind, found.has_risen) == (2.0, -1.0, 2.0, True)
    reach = stats.t.ppf(0.975, 3) * np.sqrt((4 / 3) / 4 + 0.6**2 * (1 + 2**2) / 36)
    assert found.lower == pytest.approx(2 - reach) and found.upper == pytest.approx(2 + reach)
    assert found.figures()["gold_gap"] == 3.0


def test_scores_are_held_within_the_clip():
    scale = GoldScale(1.0, 2.0, 0.0, 0.5, 1.0, 0.0, 9)
    z, g = scale.scaled(torch.tensor([1.0, 99.0]), torch.tensor([0.5, -99.0]), 3.0)
    assert (z.tolist(), g.tolist()) == ([0.0, 3.0], [1.0, -3.0])


def test_a_second_head_of_few_annotations_that_follows_as_it_should_is_no_alarm():
    """The score moves by two spreads, the second head by what their correlation says: in 200 draws no lower end is
    above half a spread, and the interval holds 0 as often as it says."""
    generator = torch.Generator().manual_seed(3)
    held = 0
    for _ in range(200):
        truth = torch.randn(64, generator=generator)
        scale = GoldScale.of(
            truth + 0.5 * torch.randn(64, generator=generator), truth + torch.randn(64, generator=generator)
        )
        slope = 1 / 1.25  # of gold on score, both raw
        now = torch.randn(32, generator=generator) * 1.25**0.5 + 2 * 1.25**0.5
        gold = slope * now + (2 - slope) ** 0.5 * torch.randn(32, generator=generator)
        found = ppo_gold.compare(scale, now, gold, 0.0)
        assert found.drift(0.5).used <= 1
        held += found.lower <= 0 <= found.upper
    assert held / 200 > 0.9


def test_a_score_that_has_not_risen_uses_up_no_bound():
    scale = GoldScale(0.0, 1.0, 0.0, 1.0, 0.5, 0.1, 64)
    fallen = ppo_gold.compare(scale, torch.zeros(8), torch.full((8,), -3.0), 3.0)
    assert fallen.lower > 1 and fallen.drift(0.5).used == 0


def test_a_second_head_that_says_the_contrary_never_foretells_a_fall():
    scores = torch.linspace(-1, 1, 20)
    assert GoldScale.of(scores, -scores).slope == 0.0


# In a run


@pytest.mark.thorough
def test_a_policy_that_pleases_the_first_heads_errors_pauses(tmp_path: Path, model: Path):
    run = make_run(tmp_path / "run", model, reward_model=judge(tmp_path / "judge", model, torch.tensor(-1.0)), **FAST)
    pause = carry_out(run).paused()
    assert pause is not None and pause["code"] == "reward_hacking", metrics(run)[-1]
    assert "trained on other annotations" in pause["message"]
    last = metrics(run)[-1]
    assert last["score_mean"] > 0 > last["gold_score"] and last["gold_behind_lower"] > 0.5
    assert last["gold_gap"] == pytest.approx(last["score_mean"] - last["gold_score"], abs=1e-4)
    assert last["drift"] > 1
    further = next(choice for choice in pause["choices"] if choice["name"] == "on")
    assert further["changes"]["max_gold_gap"] > 0.5
    assert set(further["changes"]) <= set(configs.PPOConfig.amendable)
    choose(run, "on", max_gold_gap=0.0)
    wide = make_run(tmp_path / "wide", model, reward_model=tmp_path / "judge", **FAST, max_gold_gap=0.0)
    assert same_weights(run, carry_out(wide)) and run.result()["step"] == 8


@pytest.mark.thorough
def test_where_both_heads_agree_nothing_stops_it(tmp_path: Path, model: Path):
    run = make_run(tmp_path / "run", model, reward_model=judge(tmp_path / "judge", model, torch.tensor(2.0)), **FAST)
    rows = metrics(carry_out(run))
    assert run.paused() is None and run.result()["step"] == 8
    assert rows[-1]["score_mean"] > 0.3
    assert all(row["gold_score"] == pytest.approx(row["score_mean"], abs=1e-3) for row in rows)


def test_without_a_second_head_nothing_is_said_of_one(tmp_path: Path, model: Path):
    run = make_run(tmp_path / "run", model, reward_model=judge(tmp_path / "judge", model, None), steps=1)
    assert not any(name.startswith("gold") for row in metrics(carry_out(run)) for name in row)


def test_the_page_warns_before_the_bound():
    config = {"max_gold_gap": 0.5}
    first, near, far = ({"gold_behind_lower": value} for value in (0.0, 0.4, 0.2))
    assert "second head" in health.warnings([(0, first), (3, near)], config)[0]
    assert health.warnings([(0, first), (3, far)], config) == []
