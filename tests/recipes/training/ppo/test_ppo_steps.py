"""What a step of PPO does to the weights, counted and measured from outside: faults that the last PPO of TRL had."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.sampling_of_cases import plain_run_tries
from tests.support.tiny_model import NO_FLUENCY_BOUNDS
from training.configs import PPOConfig
from training.core.run_directory import RunDirectory, RunSpec, read_lines
from training.recipes.common import entry
from training.recipes.ppo import __main__ as ppo
from training.rl.decode import LlamaDecoder

CONFIG = {
    "reward_function": "tests.recipes.training.ppo.test_recipe_ppo.share_of_vowels", "steps": 2, "batch_size": 8,
    "max_new_tokens": 10, "calibration_episodes": 8, "learning_rate": 1e-3, "sample_prompts": 0, "stop_kl": 0.0,
    **NO_FLUENCY_BOUNDS, "min_distinct_ratio": 0.0, "max_approx_kl": 0.0, "epochs": 3, "minibatches": 4,
}  # fmt: skip


def _metrics(folder: Path, model: Path, **config: object) -> list[dict[str, float]]:
    """Of the steps that updated."""
    run = RunDirectory(folder)
    prompts = ({"id": i, "messages": [{"role": "user", "content": f"say {word}"}]} for i, word in enumerate("abcdef"))
    run.create(RunSpec("ppo", {**CONFIG, **config}, seed=3, parent=str(model)), {"prompts": prompts})
    assert entry.attempt(ppo.main, run) == 0, run.failure()
    return [row["values"] for row in read_lines(run.path / "metrics.jsonl")][:-1]


@pytest.mark.parametrize("minibatches", [1, 4])
@pytest.mark.parametrize("adapters", plain_run_tries("top", "lora", of=("top", "lora", "full")))
def test_before_the_first_step_the_ratio_is_one(
    tmp_path: Path, model: Path, adapters: str, minibatches: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ASSAY_DTYPE", "float32")
    for step in _metrics(tmp_path, model, adapters=adapters, minibatches=minibatches):
        assert step["ratio_first_mean"] == pytest.approx(1, abs=1e-5)
        assert step["ratio_first_max"] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("adapters", ["lora", "full"])
def test_every_minibatch_is_one_step_of_the_optimiser_within_the_norm(
    tmp_path: Path, model: Path, adapters: str, monkeypatch: pytest.MonkeyPatch
):
    limit, norms, original = 1e-3, [], torch.optim.Adam.step

    def step(self: torch.optim.Adam, *arguments: object) -> object:
        policy = self.param_groups[0]["params"]
        norms.append(float(torch.cat([p.grad.flatten() for p in policy if p.grad is not None]).norm()))
        return original(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    # So slow that no minibatch is clipped whole, which would leave nothing to measure
    steps = _metrics(tmp_path, model, adapters=adapters, max_grad_norm=limit, learning_rate=1e-6)
    assert len(norms) == 2 * 3 * 4  # steps x epochs x minibatches: TRL took half of its own
    assert all(norm == pytest.approx(limit, rel=1e-3) for norm in norms)
    assert all(step["grad_norm"] > 2 * limit for step in steps)  # logged before it is cut


def test_the_passes_over_a_batch_end_where_the_default_bound_says(tmp_path: Path, model: Path):
    """Of nats a token: one that never binds, as 0.1 was at usual rates, is none."""
    bound = PPOConfig().max_approx_kl
    steps = _metrics(tmp_path, model, learning_rate=2e-2, max_approx_kl=bound)
    cut = [step for step in steps if step["updates"] < 3 * 4]
    assert cut and all(step["approx_kl"] > bound for step in cut)
    assert all(step["approx_kl"] <= bound for step in steps if step not in cut)


def test_rollouts_are_drawn_by_the_fast_decoder(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch):
    seen, original = [], LlamaDecoder.step
    monkeypatch.setattr(LlamaDecoder, "step", lambda self, tokens: seen.append(1) or original(self, tokens))
    _metrics(tmp_path, model, steps=1, adapters="lora")
    # Eight calibration episodes and two rollouts, ten tokens each; two more by the check that it agrees.
    assert len(seen) >= 3 * 9
