"""PPO's controls on short runs of the tiny model: the KL coefficient, the bounds, and their baseline."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from tests import tiny_model
from tests.training.ppo_runs import carry_out, make_run, metrics
from training.recipes import entry, ppo
from training.rl.policy import Policy


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.make(tmp_path_factory.mktemp("ppo-controls") / "model")


# --- the KL coefficient


def test_the_coefficient_is_held_while_the_policy_has_not_moved_yet(tmp_path: Path, model: Path):
    rows = metrics(carry_out(make_run(tmp_path, model, learning_rate=1e-6, kl_target=6.0, kl_coef=0.15)))
    assert {row["kl_coef"] for row in rows} == {0.15}


def test_a_batch_beyond_the_horizon_leaves_the_coefficient_positive(tmp_path: Path, model: Path):
    options = {"kl_target": 0.01, "kl_coef": 0.15, "kl_horizon": 1.0, "learning_rate": 1e-2, "max_approx_kl": 0.0}
    rows = metrics(carry_out(make_run(tmp_path, model, **options)))
    coefficients = [row["kl_coef"] for row in rows]
    assert coefficients[-1] > coefficients[0]  # KL went beyond its target
    assert all(0 < after / before <= 1.5 + 1e-9 for before, after in pairwise(coefficients))


def _stop_after(step: int, patch: pytest.MonkeyPatch) -> None:
    original = ppo.save_checkpoint

    def save(trainer, optimiser, state) -> None:
        original(trainer, optimiser, state)
        if state.step == step:
            raise KeyboardInterrupt

    patch.setattr(ppo, "save_checkpoint", save)


@pytest.mark.parametrize("is_old", [False, True])
def test_a_resumed_run_knows_whether_kl_has_reached_its_target(tmp_path: Path, model: Path, is_old: bool):
    run = make_run(tmp_path, model, kl_target=6.0, kl_coef=0.15, learning_rate=1e-6, kl_horizon=8.0)
    with pytest.MonkeyPatch.context() as patch:
        _stop_after(1, patch)
        with pytest.raises(KeyboardInterrupt):
            entry.attempt(ppo.main, run)
    if is_old:
        path = run.latest_checkpoint() / "state.pt"
        saved = torch.load(path, weights_only=True)
        del saved["kl_has_reached_target"]
        torch.save(saved, path)
    rows = metrics(carry_out(run))
    # A checkpoint of before goes on as it was: its coefficient had followed KL from the first step on.
    assert (rows[-1]["kl_coef"] < 0.15) == is_old


# --- odd tokens


def test_one_odd_token_stops_no_run(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch):
    original = Policy.reference_logprobs

    def odd(self, lower, rollout, keep):
        logprobs, kept = original(self, lower, rollout, keep)
        logprobs = logprobs.clone()
        logprobs[0, 0] += 25.0
        return logprobs, kept

    monkeypatch.setattr(Policy, "reference_logprobs", odd)
    options = {"batch_size": 32, "learning_rate": 1e-6, "stop_kl": 3.0, "kl_coef": 0.0, "steps": 2}
    run = carry_out(make_run(tmp_path, model, at_bound="finish", **options))
    assert run.result()["stopped"] is None
    assert max(row["kl_k3"] for row in metrics(run)) > 1e6 > 3 > max(row["kl_robust"] for row in metrics(run))
