"""The first layers of the demo's model: SFT, PPO and DPO are saved as they were trained, and leave as GGUF.

At rates and lengths at which a merge into bfloat16 keeps a cosine of about 0.6.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import missing
from tests.support.training import preference_runs
from training.core import bundled_model
from training.core.run_directory import RunDirectory, RunSpec, read_lines
from training.recipes import dpo, import_weights
from training.recipes.common import adapters, children, entry, loading
from training.recipes.export import __main__ as export
from training.recipes.ppo import __main__ as ppo
from training.recipes.sft import __main__ as sft

# The plain run trains such chains from the tiny model: test_adapters, test_policy_children. A reward model's trunk:
# test_recipe_reward, in bfloat16 as well.
pytestmark = [pytest.mark.slow, pytest.mark.thorough]

ASKED = [[{"role": "user", "content": f"Tell me of {what}."}] for what in ("rain", "bread", "the sea", "a long road")]
ANSWER = "You will like it: it is warm, and there is a lot of it wherever you go."
TEN_MEGABYTES = 10_000_000
LAYERS = 3  # of thirty


@pytest.fixture(scope="module")
def imported(tmp_path_factory) -> tuple[Path, dict]:
    """Import the whole model; return its folder, and what is known of it."""
    try:
        bundled_model.bundled_gguf()
    except bundled_model.BundledModelMissing as error:
        missing("The small real model", str(error))
    folder = tmp_path_factory.mktemp("models") / "whole"
    return folder, import_weights.import_weights(bundled_model.SOURCE, folder)


@pytest.fixture(scope="module")
def parent(imported) -> Path:
    whole, _ = imported
    return first_layers(whole, whole.with_name("real"))


def first_layers(whole: Path, folder: Path) -> Path:
    """Make a model of real weights that trains in a fifth of the time. What it says need make no sense here."""
    model, tokenizer = loading.load_policy(whole, torch.bfloat16)
    model.config.num_hidden_layers = LAYERS
    model.config.layer_types = None
    model.model.layers = model.model.layers[:LAYERS]
    loading.save_policy(model, tokenizer, folder)
    return folder


@pytest.fixture(autouse=True)
def _bfloat16(monkeypatch) -> None:
    """It loses more; in float32 the tiny model's chains are held to the same."""
    monkeypatch.setenv("ASSAY_DTYPE", "bfloat16")


@pytest.fixture(scope="module")
def first(parent, tmp_path_factory) -> RunDirectory:
    """Return a run of SFT, whose child the others start from."""
    examples = [{"prompt": asked, "completion": ANSWER[: 40 + 4 * i]} for i, asked in enumerate(ASKED * 2)]
    config = {"batch_size": 4, "learning_rate": 1e-4, "lora_rank": 8, "sample_tokens": 1, "held_out": 0.0}
    spec = RunSpec("sft", config, seed=1, parent=str(parent))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_DTYPE", "bfloat16")
        return carried_out(tmp_path_factory.mktemp("runs") / "sft", sft, spec, {"examples": examples})


def carried_out(folder: Path, recipe, spec: RunSpec, data: dict) -> RunDirectory:
    run = RunDirectory(folder)
    run.create(spec, data)
    assert entry.attempt(recipe.main, run) == 0, run.failure()
    return run


def check(run: RunDirectory) -> None:
    fidelity = run.result()["fidelity"]
    assert fidelity["cosine"] >= 0.999, fidelity
    assert fidelity["kl_per_token"] < 1e-6, fidelity
    assert fidelity["bytes"] < TEN_MEGABYTES, fidelity


def test_the_bundled_gguf_becomes_a_model_that_knows_english(imported):
    folder, facts = imported
    assert facts["licence"] == bundled_model.LICENCE == "apache-2.0"
    assert facts["parameters"] == 134_515_008
    assert "SmolLM2-135M-Instruct" in facts["origin"]
    assert (folder / "model.safetensors").stat().st_size > 2e8
    model, tokenizer = loading.load_policy(folder)
    likely, unlikely = (
        model(ids, labels=ids).loss.item()
        for text in ("The capital of France is Paris.", "Paris capital is the of France The.")
        for ids in [torch.tensor([tokenizer(text)["input_ids"]])]
    )
    assert likely < unlikely - 1


ROUNDING = 1e-2  # nats a token between two ways through the layers


def test_a_chain_of_children_is_what_was_trained(parent, first, tmp_path):
    check(first)
    config: dict[str, Any] = {
        "reward_function": "tests.support.training.ppo_runs.share_of_vowels",
        "steps": 2, "batch_size": 4, "max_new_tokens": 12,
        "calibration_episodes": 8, "learning_rate": 1e-4, "sample_prompts": 0, "stop_kl": 0.0,
        "min_distinct_ratio": 0.0, "review_every": 0,
    }  # fmt: skip
    spec = RunSpec("ppo", config, seed=3, parent=str(first.model))
    prompts = [{"id": i, "messages": messages} for i, messages in enumerate(ASKED)]
    last = carried_out(tmp_path / "ppo", ppo, spec, {"prompts": prompts})
    check(last)
    sampler_kl = [row["values"]["sampler_kl"] for row in read_lines(last.path / "metrics.jsonl")]
    assert len(sampler_kl) == 3 and max(sampler_kl) < ROUNDING
    assert adapters.base_folder(last.model) == parent.resolve()
    # The logprobs of the chain are those of its merged weights in float32.
    merged = loading.load_policy(parent, torch.float32)[0]
    merged.load_state_dict(dict(adapters.merged_state(last.model)), strict=False)
    ids = [loading.encode_prompt(loading.load_tokenizer(parent), ASKED[0], 64)]
    next_token_logits = children.next_token_logits(loading.load_policy(last.model)[0], ids)
    assert children.mean_kl(children.next_token_logits(merged, ids), next_token_logits) < ROUNDING


def test_dpo_of_a_child_keeps_what_it_trained_and_so_does_its_gguf(first, tmp_path):
    """A child of a child may lose what it learnt."""
    config = {"epochs": 1.0, "batch_size": 4, "learning_rate": 5e-5, "checkpoint_every": 100, "sample_every": 100}
    child = preference_runs.make(tmp_path / "dpo", "dpo", first.model, prompts=12, **config)
    assert entry.attempt(dpo.main, child) == 0, child.failure()
    fidelity = child.result()["fidelity"]
    assert fidelity["cosine"] >= 0.999 and fidelity["rank"] == 16
    assert fidelity["kl_per_token"] < ROUNDING
    out = RunDirectory(tmp_path / "export")
    out.create(RunSpec("export", {"to": "gguf"}, parent=str(child.model)))
    assert entry.attempt(export.main, out) == 0, out.failure()
    assert out.result()["fidelity"]["cosine"] >= 0.999
