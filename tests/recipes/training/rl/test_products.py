"""Each way of computing products: what it gives, what it draws, and that it never goes stale."""

import pytest
import torch
from torch.testing import assert_close

from tests.support.training.tiny_llama import llama
from training.rl import products
from training.rl.decode import LlamaDecoder
from training.rl.linear import Linear
from training.rl.module_decoder import ModuleDecoder
from training.rl.policy import Policy
from training.rl.sampler import Sampling, left_pad, sample

WAYS = [
    pytest.param(way, dtype, id=f"{way.name}, {str(dtype).removeprefix('torch.')}")
    for way, dtype in [
        (products.AS_IT_IS, torch.float32), (products.BLOCKS, torch.float32), (products.HALVES, torch.float32),
        (products.AS_IT_IS, torch.bfloat16), (products.BLOCKS, torch.bfloat16),
    ]
]  # fmt: skip


def _only(monkeypatch: pytest.MonkeyPatch, way: products.Way, dtype: torch.dtype) -> None:
    if not products.works(way, dtype):
        pytest.skip(f"this machine has no products by {way.name} in {dtype}")
    monkeypatch.setattr("training.rl.linear.way_for", lambda weight, **_: way)


def _rounded(dtype: torch.dtype, **config: object):
    """Return a model as one that was trained in bfloat16 is read in `dtype`."""
    return llama(**config).to(torch.bfloat16).to(dtype).requires_grad_(False)


@pytest.mark.parametrize(("way", "dtype"), WAYS)
def test_products_are_those_of_the_weight_to_the_bit_each_time(way: products.Way, dtype: torch.dtype):
    if not products.works(way, dtype):
        pytest.skip("not on this machine")
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(192, 576, generator=generator).bfloat16().to(dtype)
    x = torch.randn(64, 576, generator=generator).to(dtype)
    laid_out = way.lay_out(weight)
    whole = way.multiply(x, laid_out)
    assert_close(whole.float(), x.float() @ weight.float().T, atol=1e-3 if dtype == torch.float32 else 0.3, rtol=1e-2)
    assert torch.equal(way.multiply(x, way.lay_out(weight)), whole)
    for rows in (1, 2, 5, 16, 33):
        limit = 0 if way is products.BLOCKS else 1e-4 if dtype == torch.float32 else 0.3
        assert (way.multiply(x[:rows], laid_out) - whole[:rows]).abs().max() <= limit


@pytest.mark.parametrize("is_slow", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_are_the_same_by_mkl_and_by_onednn(is_slow, dtype, monkeypatch: pytest.MonkeyPatch):
    if is_slow and not products.works(products.ONEDNN, torch.float32):
        pytest.skip("torch has no oneDNN on this machine")
    monkeypatch.setattr(products, "_mkl_is_slow", lambda: is_slow)
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, 96, generator=generator).to(dtype) for n in (70, 480))
    found = products.logits(hidden, weight)
    near = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-2, "atol": 0.1}
    assert_close(found.double(), hidden.double() @ weight.double().T, **near)
    assert torch.equal(products.logits(hidden, weight), found)


@pytest.mark.parametrize(("vendor", "is_slow"), [("AuthenticAMD", True), ("GenuineIntel", False), (None, True)])
def test_mkl_is_left_on_processors_of_amd(vendor, is_slow, monkeypatch: pytest.MonkeyPatch, tmp_path):
    """None: what the processor is stands in no file, as on Windows."""
    monkeypatch.setattr(products, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(products.platform, "processor", lambda: "AMD64 Family 25 Model 97 Stepping 2, AuthenticAMD")
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setattr(products, "works", lambda *_: True)
    if vendor:
        (tmp_path / "cpuinfo").write_text(f"vendor_id\t: {vendor}\n")
    assert products._mkl_is_slow.__wrapped__() is is_slow
    monkeypatch.setattr(products, "works", lambda *_: False)
    assert not products._mkl_is_slow.__wrapped__()


def test_the_way_follows_from_the_weight_alone():
    frozen = torch.randn(48, 64, generator=torch.Generator().manual_seed(1))
    has_halves = products.works(products.HALVES, torch.float32)
    blocks = products.BLOCKS if products.works(products.BLOCKS, torch.float32) else products.AS_IT_IS
    halves = products.HALVES if has_halves else blocks
    assert products.way_for(frozen) is halves
    assert products.way_for(frozen, exact=True) is blocks
    assert products.way_for(frozen.bfloat16().float(), exact=True) is halves
    assert products.way_for(frozen, learns=True) is blocks
    assert products.way_for(frozen * 1e6) is blocks  # beyond float16's range
    assert products.way_for(frozen.double()) is products.AS_IT_IS


@pytest.mark.parametrize(("way", "dtype"), WAYS)
def test_draws_follow_the_models_own_distribution(way, dtype, monkeypatch: pytest.MonkeyPatch):
    """Chi-square of 6,000 second tokens against the product of the model's own probabilities, a prompt in two rows."""
    _only(monkeypatch, way, dtype)
    model = _rounded(dtype)
    prompt, draws = [5, 6, 7], 6000
    done = sample(
        LlamaDecoder(model), [prompt] * draws, range(draws), Sampling(2), end_ids=[], pad_id=0, most_rows=1500
    )
    with torch.no_grad():
        first = model(torch.tensor([prompt])).logits[0, -1].double().softmax(-1)
        texts = torch.cat([torch.tensor(prompt).expand(32, 3), torch.arange(32)[:, None]], 1)
        second = first @ model(texts).logits[:, -1].double().softmax(-1)
    for column, probs in enumerate((first, second)):
        counts = done.tokens[:, column].bincount(minlength=32).double()
        common = probs * draws >= 5
        seen, expected = ([*v[common], v[~common].sum()] for v in (counts, probs * draws))
        chi_square = sum((a - b) ** 2 / b for a, b in zip(seen, expected, strict=True) if b > 0)
        assert chi_square < 61.1  # 31 degrees of freedom: passed by chance once in a thousand times


@pytest.mark.parametrize(("way", "dtype"), WAYS)
@pytest.mark.parametrize("adapters", ["lora", "full"])
def test_what_learns_is_read_again(adapters, way, dtype, monkeypatch: pytest.MonkeyPatch):
    if adapters == "full" and way is products.HALVES:
        pytest.skip("never for weights that learn")
    _only(monkeypatch, way, dtype)
    policy = Policy(llama(attention_bias=True).to(torch.bfloat16).to(dtype), adapters, rank=4, alpha=8)
    decoder = LlamaDecoder(policy.model)
    ids, mask = left_pad([[5, 6, 7], [8]], 0)
    before = decoder.prefill(ids, mask, 4)
    with torch.no_grad():
        for parameter in policy.parameters().values():
            parameter += 0.05
    if adapters == "lora":  # of weights that all learn, norms and embeddings are read as they are
        assert torch.equal(decoder.prefill(ids, mask, 4), before)
    decoder.refresh(policy.trained_from)
    expected = ModuleDecoder(policy.model).prefill(ids, mask, 4)
    limit = 2e-3 if dtype == torch.float32 else 0.3
    assert (decoder.prefill(ids, mask, 4) - expected).abs().max() < limit * expected.abs().max()
    assert (expected - before).abs().max() > 2 * limit * expected.abs().max() or dtype == torch.bfloat16


@pytest.mark.parametrize("adapters", ["lora", "full"])
def test_the_samplers_copy_moves_no_weight_of_the_training(adapters: str):
    policy = Policy(llama(), adapters, rank=4, alpha=8)
    kept = {name: p.detach().clone() for name, p in policy.model.named_parameters()}
    decoder = LlamaDecoder(policy.model)
    sample(decoder, [[5, 6]] * 4, range(4), Sampling(4), end_ids=[], pad_id=0)
    decoder.refresh(0)
    assert all(torch.equal(p, kept[name]) for name, p in policy.model.named_parameters())


def test_a_frozen_weight_in_float16_keeps_its_adapter_beside_it():
    if not products.works(products.HALVES, torch.float32):
        pytest.skip("not on this machine")
    policy = Policy(_rounded(torch.float32), "lora", rank=4, alpha=8)
    linear = Linear(policy.model.model.layers[0].mlp.down_proj)
    assert linear.way is products.HALVES and linear.low_rank is not None
