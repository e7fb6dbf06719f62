"""PPO with the states that its sampler kept, beside PPO that computes them again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from tests.support.training.ppo_runs import make_run
from training.core import batch_planner
from training.recipes.common import entry, loading
from training.recipes.ppo.rollouts import PPO, Episodes
from training.recipes.reward.reward_model import RewardModel
from training.rl import kept_states, policy


@pytest.fixture(params=["weights that float16 holds", "weights that float16 rounds"])
def parent(request, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model in float32, with weights of a bfloat16 checkpoint or of one that was trained in float32."""
    monkeypatch.setenv("ASSAY_DTYPE", "float32")
    shutil.copytree(model, tmp_path / "parent")
    weights = load_file(model / "model.safetensors")
    rounded = {name: w.half().float() if request.param.endswith("holds") else w for name, w in weights.items()}
    save_file(rounded, tmp_path / "parent" / "model.safetensors", {"format": "pt"})
    return tmp_path / "parent"


def episodes_of(path: Path, parent: Path, **config: object) -> tuple[PPO, Episodes]:
    """Of a reward model that reads two layers below the cut and one above."""
    head = path.with_name(f"{path.name}-head")
    head.mkdir()
    features = ((1, "mean"), (2, "last"), (3, "mean"))
    RewardModel(
        "head", features, torch.linspace(-1, 1, 192), torch.zeros(1), torch.zeros(192), torch.ones(192), str(parent),
        loading.weights_hash(parent), 64, 64,
    ).save(head)  # fmt: skip
    run = make_run(path, parent, reward_model=head, **config)
    one = PPO(run, run.spec(), entry.config_of(run.spec()))
    return one, one.collect([0, 1, 2, 3], one.seeds("x", count=4))


def test_batches_that_are_drawn_together_are_those_drawn_one_by_one(parent: Path, tmp_path: Path, monkeypatch):
    one, _ = episodes_of(tmp_path / "run", parent, adapters="top", max_new_tokens=20, batch_size=2)
    indices, seeds = one.shuffled_prompts("calibration", 0, 7), one.seeds("calibration", count=7)
    apart = [one.collect(indices[i : i + 2], seeds[i : i + 2]) for i in range(0, 7, 2)]
    opened, original = [], one.decoder.open
    monkeypatch.setattr(one.decoder, "open", lambda count, *rest: opened.append(count) or original(count, *rest))
    together = list(one.collect_batches(indices, seeds))
    assert opened == [7]
    monkeypatch.setattr(batch_planner, "rows_at_once", lambda *_, **__: 5)
    assert [len(batch.texts) for batch in one.collect_batches(indices, seeds)] == [2, 2, 2, 1]
    assert opened == [7, 4, 3]
    for found, wanted in zip(together, apart, strict=True):
        assert (found.indices, found.texts, found.prompts) == (wanted.indices, wanted.texts, wanted.prompts)
        assert torch.equal(found.rollout.ids, wanted.rollout.ids)
        for name in ("scores", "ref_logprobs", "drawn_logprobs", "inputs"):
            assert_close(getattr(found, name), getattr(wanted, name), atol=1e-4, rtol=1e-4)
        mask = wanted.rollout.mask
        assert_close(found.features[mask], wanted.features[mask], atol=1e-4, rtol=1e-4)


def test_scores_logprobs_and_features_are_those_of_a_second_forward(parent: Path, tmp_path: Path, monkeypatch):
    ranges, original = [], policy.run_layers
    monkeypatch.setattr(policy, "run_layers", lambda *a: ranges.append(a[2:4]) or original(*a))
    _, kept = episodes_of(tmp_path / "kept", parent, adapters="top", max_new_tokens=20)
    assert ranges == [(2, 3)]  # the reference's upper layer, and no trunk
    monkeypatch.setattr(kept_states, "MOST_BYTES", 0)
    _, again = episodes_of(tmp_path / "again", parent, adapters="top", max_new_tokens=20)
    assert ranges == [(2, 3), (0, 2), (2, 3)]
    assert torch.equal(kept.rollout.ids, again.rollout.ids)
    mask = kept.rollout.mask
    assert_close(kept.scores, again.scores, atol=1e-3, rtol=1e-4)
    assert_close(kept.ref_logprobs, again.ref_logprobs, atol=1e-4, rtol=1e-4)
    assert_close(kept.features[mask], again.features[mask], atol=1e-4, rtol=1e-4)
    assert_close(kept.inputs, again.inputs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("adapters", ["lora", "full"])
def test_nothing_is_kept_where_every_layer_learns(parent: Path, tmp_path: Path, monkeypatch, adapters: str):
    monkeypatch.setattr(kept_states.KeptStates, "write", lambda *a: pytest.fail("states were kept"))
    episodes_of(tmp_path / "run", parent, adapters=adapters)
