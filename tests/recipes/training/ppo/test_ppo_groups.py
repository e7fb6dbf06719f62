"""What is computed at once changes no number of a step: in groups of rows, and over all rows together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from tests.support.training.ppo_runs import make_run
from training.recipes.common import entry
from training.recipes.ppo import __main__ as ppo
from training.recipes.ppo import update as ppo_update
from training.recipes.ppo.rollouts import PPO
from training.rl.policy import Policy

CONFIG = {"batch_size": 8, "calibration_episodes": 8, "learning_rate": 1e-3, "ptx_coef": 0.1, "max_approx_kl": 0.0}


def step(path: Path, model: Path, monkeypatch, *, tokens: int, packed: bool = True, **config: object):
    """Take one step of PPO; return the episodes, figures, what has learnt, and the rows of every forward with
    gradients. After each comes its backward, before the next: memory holds one graph."""
    run = make_run(path, model, **(CONFIG | config))
    one = PPO(run, run.spec(), entry.config_of(run.spec()))
    one.tokens_at_once, one.policy.packed = tokens, packed
    optimiser, state = ppo_update.optimiser_for(one), ppo.calibrate(one)
    seen, turns, original, backward = [], [], Policy.logprobs, torch.Tensor.backward

    def logprobs(self, lower, rollout, **options):
        if torch.is_grad_enabled():
            seen.append(len(rollout))
            turns.append("forward")
        return original(self, lower, rollout, **options)

    episodes = one.collect(one.prompt_order(0), one.seeds("rollout", 0, count=8))
    with monkeypatch.context() as patched:
        patched.setattr(Policy, "logprobs", logprobs)
        patched.setattr(torch.Tensor, "backward", lambda self: turns.append("backward") or backward(self))
        measured = ppo.measure(one, state, episodes)
        figures = ppo_update.update(one, optimiser, state, episodes, measured, 0)
    assert set(turns[::2]) == {"forward"} and set(turns[1::2]) <= {"backward"}
    learnt = torch.cat([p.detach().flatten() for p in one.policy.parameters().values()])
    return episodes, figures, learnt, seen


@pytest.mark.parametrize(
    ("adapters", "minibatches", "packed"),
    [("top", 1, True), ("top", 2, False), ("lora", 1, False), ("lora", 2, True)],  # unpacked as on a GPU
)
def test_a_step_in_groups_is_the_step_over_all_rows(
    tmp_path: Path, model: Path, monkeypatch, adapters: str, minibatches: int, packed: bool
):
    monkeypatch.setenv("ASSAY_DTYPE", "float32")
    options = {"adapters": adapters, "minibatches": minibatches, "packed": packed}
    whole, of_whole, wanted, rows = step(tmp_path / "whole", model, monkeypatch, tokens=10_000, **options)
    parts, of_parts, found, groups = step(tmp_path / "parts", model, monkeypatch, tokens=50, **options)
    assert max(rows) == 8 // minibatches and max(groups) <= 2  # of some 35 tokens each
    for name in ("scores", "ref_logprobs", "lower", "inputs"):
        assert_close(getattr(parts, name), getattr(whole, name), atol=1e-4, rtol=1e-4)
    assert_close(parts.features[parts.rollout.mask], whole.features[whole.rollout.mask], atol=1e-4, rtol=1e-4)
    assert of_parts == pytest.approx(of_whole, rel=1e-3, abs=1e-5)
    assert of_parts["ratio_first_mean"] == pytest.approx(1, abs=1e-5)
    assert (found - wanted).norm() < 1e-2 * wanted.norm()


def test_a_minibatch_that_is_left_out_leaves_no_gradients_of_its_groups(tmp_path: Path, model: Path, monkeypatch):
    monkeypatch.setenv("ASSAY_DTYPE", "float32")
    taken, original = [], torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: taken.append(1) or original(self))
    _, figures, _, groups = step(
        tmp_path, model, monkeypatch, tokens=50, minibatches=1, learning_rate=2e-2, max_approx_kl=1e-3
    )
    assert figures["updates"] == len(taken) == 1 and len(groups) > 2
