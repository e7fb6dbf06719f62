"""Counts of a model on the meta device, against the arithmetic of forms and against torch's own bytes."""

from __future__ import annotations

import json

import pytest
import torch

from tests.support import tiny_model
from training import configs
from training.core.memory.decoder_sizes import decoder_of
from training.core.memory.stage_counts import stage_memory
from training.core.memory.stage_memory import Hardware
from training.core.resource_estimate import token_bytes
from training.recipes.common import features, loading, meta_model
from training.recipes.common.fp32_master_weights import Masters, trained_parameters
from training.rl import linear
from training.rl.decode import LlamaDecoder
from training.rl.lora import add_adapters
from training.rl.products import AS_IT_IS

LLAMA = {
    "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 160, "vocab_size": 300, "tie_word_embeddings": True,
}  # fmt: skip


@pytest.mark.parametrize("is_tied", [True, False])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "mistral"])
def test_parameters_and_adapters_are_those_of_the_model(kind, is_tied):
    config = {"model_type": kind, **LLAMA, "head_dim": 16, "tie_word_embeddings": is_tied}
    model, decoder = meta_model.build(config), decoder_of(config)
    assert model.device.type == "meta"
    assert decoder is not None and decoder.parameters == meta_model.count_parameters(model)
    assert decoder.adapter_parameters(4, 3) == meta_model.add_and_count_adapters(model, "lora", 4)


def test_adapters_in_the_top_third_are_counted():
    config = {"model_type": "llama", **LLAMA}
    decoder = decoder_of(config)
    assert decoder is not None
    assert decoder.adapter_parameters(4, 1) == meta_model.add_and_count_adapters(meta_model.build(config), "top", 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activations_are_counted_near_what_autograd_keeps(dtype):
    model = meta_model.build({"model_type": "llama", **LLAMA, "hidden_size": 256, "intermediate_size": 704}, dtype)
    counted = 3 * token_bytes(256, 704, dtype.itemsize)
    kept = (meta_model.kept_bytes(model, 2, 64) - meta_model.kept_bytes(model, 1, 64)) / 64
    assert 0.75 < kept / counted < 1.05


@pytest.fixture
def tiny(tmp_path):
    folder = tiny_model.make(tmp_path / "tiny")
    decoder = decoder_of(json.loads((folder / "config.json").read_text()))
    assert decoder is not None
    return folder, decoder


@pytest.mark.parametrize(("dtype", "a_weight"), [(torch.float32, 16), (torch.bfloat16, 20)])
def test_weights_gradients_and_moments_take_torchs_own_bytes(tiny, dtype, a_weight):
    folder, decoder = tiny
    model, _ = loading.load_policy(folder, torch.float32)
    masters = Masters(trained_parameters(model), dtype)
    optimiser = masters.optimiser(rate=1e-4, weight_decay=0.0, beta2=0.99)
    model(input_ids=torch.ones(1, 4, dtype=torch.long)).logits.float().sum().backward()
    transient = sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    masters.collect()
    optimiser.step()
    kept = {p.data_ptr(): p.nbytes for p in [*model.parameters(), *masters.masters.values()]}
    kept |= {g.data_ptr(): g.nbytes for g in masters.gradients}
    moments = [t for state in optimiser.state.values() for t in state.values() if t.ndim]
    held = sum(kept.values()) + sum(t.nbytes for t in moments) + (transient if dtype == torch.bfloat16 else 0)
    stage = stage_memory(
        "sft", decoder, vars(configs.parse("sft", {"adapters": "full"})), Hardware("cpu", dtype.itemsize)
    )
    assert stage is not None
    counted = stage.during("taking a step") - stage.standing["process"]
    assert held == counted == a_weight * decoder.parameters


def test_the_cache_of_sampling_takes_its_own_bytes(tiny):
    folder, decoder = tiny
    model, _ = loading.load_policy(folder, torch.float32)
    sampler = LlamaDecoder(model)
    sampler.prefill(torch.ones(3, 5, dtype=torch.long), torch.ones(3, 5, dtype=torch.long), 7)
    assert sum(t.nbytes for t in [*sampler.keys, *sampler.values]) == decoder.cache_bytes(3 * 12, 4)


@pytest.mark.parametrize("adapters", ["lora", "top"])
@pytest.mark.parametrize(("dtype", "merges"), [(torch.float32, True), (torch.bfloat16, False)])
def test_what_a_sampler_fuses_and_merges_on_a_gpu_takes_its_own_bytes(tiny, monkeypatch, adapters, dtype, merges):
    folder, decoder = tiny
    monkeypatch.setattr(linear, "way_for", lambda *_, **_options: AS_IT_IS)  # as on any GPU
    model, _ = loading.load_policy(folder, dtype)
    layers = features.adapted_layers(model, adapters)
    add_adapters(layers, 4, 8.0, seed=0)
    own = {parameter.data_ptr() for parameter in model.parameters()}
    linears = [part for layer in LlamaDecoder(model).layers for part in layer.linears]
    copied = sum(part.weight.nbytes for part in linears if part.weight.data_ptr() not in own)
    assert any(part.is_merged for part in linears) is merges
    config = vars(configs.parse("ppo", {"reward_function": "a.b", "adapters": adapters}))
    stage = stage_memory("ppo", decoder, config, Hardware("cuda", dtype.itemsize))
    assert stage is not None and stage.standing["weights laid out to sample"] == copied


def test_what_adapters_keep_beside_is_counted_for_pairs_as_for_examples():
    model = meta_model.build({"model_type": "llama", **LLAMA, "hidden_size": 256, "intermediate_size": 704})
    meta_model.add_and_count_adapters(model, "lora", 4)
    kept = (meta_model.kept_bytes(model, 2, 64) - meta_model.kept_bytes(model, 1, 64)) / 64
    decoder = decoder_of({"model_type": "llama", **LLAMA, "hidden_size": 256, "intermediate_size": 704})
    config = vars(configs.parse("dpo", {"micro_batch_size": 1}))
    assert decoder is not None
    stage = stage_memory("dpo", decoder, config, Hardware("cuda", 2))
    assert stage is not None
    counted = stage.phases["training"]["activations"] / (2 * 512)
    assert 0.75 < kept / counted < 1.05
