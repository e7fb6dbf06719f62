"""PPO on every weight, in bfloat16 with float32 masters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.training.ppo_runs import make_run
from training.recipes.common import entry, memory
from training.recipes.ppo import __main__ as ppo
from training.recipes.ppo import update as ppo_update
from training.recipes.ppo.rollouts import PPO

CONFIG = {"adapters": "full", "learning_rate": 1e-4, "batch_size": 8, "minibatches": 1, "epochs": 1, "kl_coef": 0.0}


def trainer(path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, dtype: str) -> PPO:
    monkeypatch.setenv("ASSAY_DTYPE", dtype)
    run = make_run(path, model, **CONFIG)
    return PPO(run, run.spec(), entry.config_of(run.spec()))


def test_its_masters_learn_by_the_gradients_of_float32_and_the_model_holds_them_rounded(tmp_path, model, monkeypatch):
    wide = trainer(tmp_path / "wide", model, monkeypatch, "float32")
    one = trainer(tmp_path / "one", model, monkeypatch, "bfloat16")
    state, order = ppo.calibrate(wide), wide.prompt_order(0)
    one.value.load_state_dict(wide.value.state_dict())
    one.tokens_at_once = 50  # several backward passes, whose gradients add up in the masters
    rollout, drawn = wide.draw(order, wide.seeds("rollout", 0, count=8))
    before = {name: weight.clone() for name, weight in one.policy.parameters().items()}
    found = {}
    for name, of in (("wide", wide), ("one", one)):
        episodes = of.score(order, [of.messages[i] for i in order], rollout, drawn)
        measured = ppo.measure(of, state, episodes)
        figures = ppo_update.update(of, ppo_update.optimiser_for(of), state, episodes, measured, 0)
        assert figures["ratio_first_mean"] == pytest.approx(1, abs=1e-3) and figures["updates"] == 1
        assert measured.figures["kl"] == pytest.approx(0, abs=1e-6), "the reference computes as the policy does"
        found[name] = torch.cat([weight.grad.flatten() for weight in of.policy.parameters().values()])
    assert torch.cosine_similarity(found["wide"], found["one"], dim=0) > 0.98
    masters = one.policy.parameters()
    rounded = {name: weight for name, weight in one.policy.model.named_parameters() if weight.dtype == torch.bfloat16}
    assert rounded.keys() == masters.keys() and {weight.dtype for weight in masters.values()} == {torch.float32}
    assert all(torch.equal(weight, masters[name].bfloat16()) for name, weight in rounded.items())
    moved = torch.cat([(masters[name] - before[name]).flatten() for name in before])
    assert 0 < moved.abs().max() < 2e-4, "less than bfloat16 holds of most weights"
    assert any(not torch.equal(weight, before[name].bfloat16()) for name, weight in rounded.items())
    state.drawn_by = before
    with state.as_drawn(one):
        assert all(torch.equal(weight, before[name].bfloat16()) for name, weight in rounded.items())
    assert all(torch.equal(weight, masters[name].bfloat16()) for name, weight in rounded.items())


@pytest.mark.parametrize(("adapters", "wanted"), [("full", 2), ("lora", 0)])
def test_what_updates_have_freed_is_given_back_before_all_weights_are_laid_out(
    tmp_path, model, monkeypatch, adapters, wanted
):
    returned = []
    monkeypatch.setattr(memory, "return_freed_memory", lambda: returned.append(1))
    run = make_run(tmp_path, model, **{**CONFIG, "adapters": adapters})
    one = PPO(run, run.spec(), entry.config_of(run.spec()))
    for step in range(2):
        one.draw(one.prompt_order(step), one.seeds("rollout", step, count=8))
    assert len(returned) == wanted
