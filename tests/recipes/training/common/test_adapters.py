"""A child of LoRA training is its base and an adapter: written, read, loaded, moved, hashed, chained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from tests.support import tiny_model
from tests.support.training import adapter_children
from training.core.run_directory import RecipeFailure
from training.recipes.common import adapters, children, loading
from training.recipes.common.features import decoder_layers
from training.rl.factors import Factors, concatenate, cosine, negative
from training.rl.lora import FrozenLoRA, LoRALinear, add_adapters

DTYPES = [torch.bfloat16, torch.float32]
IDS = [[5, 9, 40, 17, 3, 66, 21, 8], [30, 2, 11, 77, 54]]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A tiny model whose weights lie on bfloat16's grid, as those of every imported model do."""
    folder = tmp_path_factory.mktemp("models")
    return adapter_children.base(tiny_model.make(folder / "made"), folder / "base")


def trained(parent: Path, dtype: torch.dtype, *, seed: int = 1, size: float = 3e-3, rank: int = 4):
    """(model, tokenizer, switch) with adapters whose b has moved by some `size`: a small update."""
    model, tokenizer = loading.load_policy(parent, dtype)
    model.requires_grad_(False)
    switch = add_adapters(decoder_layers(model), rank, 2.0 * rank, seed)
    stir(model, seed, size)
    return model, tokenizer, switch


@torch.no_grad()
def stir(model, seed: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, LoRALinear):
            module.lora_b.copy_(torch.randn(module.lora_b.shape, generator=generator) * size)


def logits(model) -> torch.Tensor:
    return torch.cat(children.next_token_logits(model, IDS))


def kl(wanted, found) -> float:
    return children.mean_kl(children.next_token_logits(wanted, IDS), children.next_token_logits(found, IDS))


def child_of(parent: Path, folder: Path, dtype: torch.dtype, **how) -> children.Saved:
    model, tokenizer, _ = trained(parent, dtype, **how)
    return children.save_child(parent, model, tokenizer, folder, IDS)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_child_is_the_model_that_was_trained(base, tmp_path, dtype):
    model, tokenizer, switch = trained(base, dtype)
    with switch.off():
        of_parent = logits(model)
    live, update = logits(model), adapters.trained_factors(model)
    saved = children.save_child(base, model, tokenizer, tmp_path / "child", IDS)
    child, _ = loading.load_policy(tmp_path / "child", dtype)
    moved = (live - of_parent).abs().mean()
    assert (logits(child) - live).abs().mean() < moved * (0.02 if dtype == torch.float32 else 0.3)
    assert cosine(adapters.read_adapter(tmp_path / "child"), update) > 0.9999
    assert saved.fidelity.cosine > 0.9999
    assert saved.fidelity.dtype == "bfloat16"
    assert saved.facts()["fidelity"]["rank"] == 4


def test_a_merge_into_bfloat16_loses_what_an_adapter_keeps(base, tmp_path):
    model, _, _ = trained(base, torch.float32, size=2e-4)
    update = adapters.trained_factors(model)
    name = "model.layers.0.mlp.down_proj"
    weight = dict(adapters.merged_state(base))[f"{name}.weight"]
    merged = (weight + update[name].product()).bfloat16().float() - weight
    assert torch.cosine_similarity(merged.flatten(), update[name].product().flatten(), dim=0) < 0.9
    saved = child_of(base, tmp_path / "child", torch.bfloat16, size=2e-4)
    assert saved.fidelity.cosine > 0.9999


def test_peft_and_transformers_load_the_folder_themselves(base, tmp_path):
    child_of(base, tmp_path / "child", torch.float32, size=0.05)
    ours, _ = loading.load_policy(tmp_path / "child", torch.float32)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    wanted = logits(ours)
    assert (logits(plain) - wanted).abs().max() > 0.01
    assert_close(logits(PeftModel.from_pretrained(plain, tmp_path / "child").eval()), wanted, atol=1e-4, rtol=1e-4)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "child", dtype=torch.float32)
    assert_close(logits(theirs), wanted, atol=1e-4, rtol=1e-4)
    generation = json.loads((tmp_path / "child" / "generation_config.json").read_text())
    assert (generation["do_sample"], generation["top_k"]) == (True, 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_adapters_of_a_chain_concatenate(base, tmp_path, dtype):
    child_of(base, tmp_path / "one", dtype, size=0.02)
    first = adapters.read_adapter(tmp_path / "one")
    model, tokenizer, switch = trained(tmp_path / "one", dtype, seed=2, rank=3)
    second = adapters.trained_factors(model)
    parent, _ = loading.load_policy(tmp_path / "one", dtype)
    with switch.off():  # the reference is the parent, and not the base
        assert_close(logits(model), logits(parent), atol=1e-5, rtol=1e-5)
    live = logits(model)
    saved = children.save_child(tmp_path / "one", model, tokenizer, tmp_path / "two", IDS)
    both = adapters.read_adapter(tmp_path / "two")
    assert adapters.base_folder(tmp_path / "two") == base.resolve()
    assert cosine(both, concatenate(first, second)) > 0.99999
    assert cosine(concatenate(both, negative(first)), second) > 0.9999
    assert {f.rank for f in both.values()} == {7}
    moved = (live - logits(parent)).abs().mean()
    assert (logits(saved.model) - live).abs().mean() < moved * 0.02
    assert saved.fidelity.kl_per_token < 1e-6


def test_layers_of_different_ranks_are_kept_as_they_are(base, tmp_path):
    child_of(base, tmp_path / "one", torch.float32, size=0.05)
    model, tokenizer = loading.load_policy(tmp_path / "one", torch.float32)
    model.requires_grad_(False)
    add_adapters(decoder_layers(model)[2:], 2, 4.0, 0)
    stir(model, 3, 0.05)
    saved = children.save_child(tmp_path / "one", model, tokenizer, tmp_path / "two", IDS)
    assert {f.rank for f in adapters.read_adapter(tmp_path / "two").values()} == {4, 6}
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    peft = PeftModel.from_pretrained(plain, tmp_path / "two").eval()
    assert_close(logits(peft), logits(saved.model), atol=1e-4, rtol=1e-4)


def test_above_a_rank_a_chain_is_shortened_and_says_what_it_cost(base, tmp_path, monkeypatch):
    child_of(base, tmp_path / "one", torch.float32, size=1e-3)
    monkeypatch.setattr(children, "MOST_RANK", 6)
    saved = child_of(tmp_path / "one", tmp_path / "two", torch.float32, size=0.05, seed=2)
    assert saved.fidelity.rank == 6
    assert saved.fidelity.shrunk["from_rank"] == 8
    assert 0 < saved.fidelity.shrunk["lost_share"] < 0.04
    assert saved.fidelity.cosine >= 0.999


def test_a_chain_is_not_shortened_where_that_would_lose_the_update(base, tmp_path, monkeypatch):
    child_of(base, tmp_path / "one", torch.float32, size=0.05)
    monkeypatch.setattr(children, "MOST_RANK", 4)
    saved = child_of(tmp_path / "one", tmp_path / "two", torch.float32, size=1e-3, seed=2)
    assert (saved.fidelity.rank, saved.fidelity.shrunk) == (8, None)
    assert saved.fidelity.cosine >= 0.999


def test_what_peft_has_trained_is_saved_alike(base, tmp_path):
    child_of(base, tmp_path / "one", torch.bfloat16, size=0.02)
    model, tokenizer = loading.load_policy(tmp_path / "one", torch.bfloat16)
    adapted = get_peft_model(model, LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02, generator=torch.Generator().manual_seed(1))
    saved = children.save_child(tmp_path / "one", adapted, tokenizer, tmp_path / "two", IDS)
    assert saved.fidelity.cosine > 0.9999
    assert {f.rank for f in adapters.read_adapter(tmp_path / "two").values()} == {6}
    assert saved.fidelity.kl_per_token < 0.1 * kl(adapted, loading.load_policy(tmp_path / "one", torch.bfloat16)[0])


def test_in_bfloat16_a_parents_factors_stay_beside_its_weights(base, tmp_path):
    child_of(base, tmp_path / "child", torch.float32)
    child, _ = loading.load_policy(tmp_path / "child", torch.bfloat16)
    plain, _ = loading.load_policy(base, torch.bfloat16)
    frozen = [m for m in child.modules() if isinstance(m, FrozenLoRA)]
    assert len(frozen) == 3 * 7
    assert all(torch.equal(child.state_dict()[name], weight) for name, weight in plain.state_dict().items())
    with pytest.raises(ValueError, match="adapter beside its weights"):
        loading.save_policy(child, None, tmp_path / "bad")


def test_a_data_folder_that_moved_keeps_its_children(base, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(base, old / "models" / "base")
    child_of(old / "models" / "base", old / "runs" / "1" / "model", torch.float32)
    wanted = logits(loading.load_policy(old / "runs" / "1" / "model", torch.float32)[0])
    (tmp_path / "new").mkdir()
    old.rename(tmp_path / "new" / "place")
    moved = tmp_path / "new" / "place" / "runs" / "1" / "model"
    assert adapters.base_folder(moved) == tmp_path / "new" / "place" / "models" / "base"
    assert_close(logits(loading.load_policy(moved, torch.float32)[0]), wanted)


def test_without_its_base_a_child_is_refused_in_words(base, tmp_path):
    shutil.copytree(base, tmp_path / "base")
    child_of(tmp_path / "base", tmp_path / "child", torch.float32)
    shutil.rmtree(tmp_path / "base")
    with pytest.raises(RecipeFailure, match="its base is not") as caught:
        loading.load_policy(tmp_path / "child")
    assert caught.value.code == "base_missing"


def test_on_another_base_a_child_is_refused(base, tmp_path):
    shutil.copytree(base, tmp_path / "base")
    child_of(tmp_path / "base", tmp_path / "child", torch.float32)
    shutil.rmtree(tmp_path / "base")
    tiny_model.make(tmp_path / "base", seed=9)
    with pytest.raises(RecipeFailure) as caught:
        loading.load_policy(tmp_path / "child")
    assert caught.value.code == "base_changed"


def test_the_hash_follows_base_and_adapter(base, tmp_path):
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        child_of(base, tmp_path / name, torch.float32, seed=seed)
    one, same, other = (loading.weights_hash(tmp_path / name) for name in ("one", "same", "other"))
    assert one == same != other
    assert one != loading.weights_hash(base)


def test_merged_weights_are_base_plus_update_in_float32(base, tmp_path):
    child_of(base, tmp_path / "child", torch.float32)
    update = adapters.read_adapter(tmp_path / "child")
    before, after = dict(adapters.merged_state(base)), dict(adapters.merged_state(tmp_path / "child"))
    assert before.keys() == after.keys()
    for name, weight in after.items():
        change = update.get(name.removesuffix(".weight"))
        wanted = before[name] if change is None else before[name] + change.product()
        assert torch.equal(weight, wanted)


@pytest.mark.parametrize(
    "extra",
    [
        {"alpha_pattern": {r"model\.layers\.[01]\..*q_proj": 64.0}},
        {"alpha_pattern": {"k_proj": 10}, "rank_pattern": {"k_proj": 2}},
        {"init_lora_weights": "orthogonal", "use_rslora": True},
    ],
)
def test_another_tools_adapter_is_the_model_that_it_trained(base, tmp_path, extra):
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "k_proj"], task_type="CAUSAL_LM", **extra),
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(tmp_path)
    loading.load_tokenizer(base).save_pretrained(tmp_path)
    assert_close(logits(loading.load_policy(tmp_path, torch.float32)[0]), logits(model), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "extra", [{"peft_type": "IA3"}, {"use_dora": True}, {"bias": "all"}, {"init_lora_weights": "pissa_niter_4"}]
)
def test_an_adapter_of_another_kind_is_refused(base, tmp_path, extra):
    adapters.write_adapter(tmp_path, {"x": Factors(torch.zeros(1, 2), torch.zeros(2, 1))}, adapters.Base(base, ""))
    config = json.loads((tmp_path / adapters.CONFIG).read_text()) | extra
    (tmp_path / adapters.CONFIG).write_text(json.dumps(config))
    with pytest.raises(RecipeFailure, match="not a plain LoRA adapter"):
        adapters.read_adapter(tmp_path)


@pytest.mark.parametrize(("size", "dtype"), [(1e-5, "float32"), (0.05, "bfloat16")])
def test_full_weights_are_in_bfloat16_only_where_that_keeps_the_update(base, tmp_path, size, dtype):
    model, tokenizer = loading.load_policy(base, torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += size * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    live = logits(model)
    saved = children.save_child(base, model, tokenizer, tmp_path / "child", IDS)
    assert saved.fidelity.dtype == dtype
    assert saved.fidelity.cosine >= 0.999
    if dtype == "float32":
        assert_close(logits(saved.model), live)


def test_full_weights_are_saved_from_their_masters(base, tmp_path):
    model, tokenizer = loading.load_policy(base, torch.bfloat16)
    masters = {name: p.detach().float() + 1e-6 for name, p in model.named_parameters()}
    saved = children.save_child(base, model, tokenizer, tmp_path / "child", IDS, weights=masters)
    kept = dict(adapters.merged_state(tmp_path / "child"))
    assert saved.fidelity.dtype == "float32"
    assert all(torch.equal(kept[name], masters[name]) for name in kept)


def test_an_update_that_is_not_finite_is_never_saved(base, tmp_path):
    model, tokenizer, _ = trained(base, torch.float32)
    with torch.no_grad():
        next(m for m in model.modules() if isinstance(m, LoRALinear)).lora_b.fill_(float("nan"))
    with pytest.raises(RecipeFailure, match="not finite"):
        children.save_child(base, model, tokenizer, tmp_path / "child", IDS)


def test_a_policy_that_never_moved_is_saved_as_its_parent(base, tmp_path):
    saved = child_of(base, tmp_path / "child", torch.float32, size=0.0)
    assert saved.fidelity.cosine == 1
    assert saved.fidelity.kl_per_token == pytest.approx(0, abs=1e-9)


def test_the_tokenizer_says_the_same_in_half_the_bytes(base, tmp_path):
    tokenizer = loading.load_tokenizer(base)
    tokenizer.save_pretrained(tmp_path / "theirs")
    loading.save_tokenizer(tokenizer, tmp_path / "ours")
    ours, theirs = ((tmp_path / name / "tokenizer.json").read_text() for name in ("ours", "theirs"))
    assert json.loads(ours) == json.loads(theirs)
    assert len(ours) < len(theirs) / 1.5
