"""Which device recipes compute on, in which dtype, and what a device without float64 is spared. No GPU is needed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from tests.support.training.tiny_llama import llama
from training.recipes.common import loading, memory, steps
from training.recipes.sft.trained_model import four_bits
from training.rl.factors import Factors, in_float64
from training.rl.lora import freeze


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Let torch say what a machine has: `machine(cuda=…, turing=…, mps=…, macos=…)`."""
    monkeypatch.delenv("ASSAY_DTYPE", raising=False)
    loading.device.cache_clear()

    def has(*, cuda: bool = False, turing: bool = False, mps: bool = False, macos: int = 14) -> None:
        def is_bf16_supported(including_emulation: bool = True) -> bool:
            return including_emulation or not turing

        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda major, minor: macos >= major)

    yield has
    loading.device.cache_clear()


@pytest.mark.parametrize(
    ("has", "device", "dtype"),
    [
        ({"cuda": True, "mps": True}, "cuda", torch.bfloat16),
        ({"cuda": True, "turing": True}, "cuda", torch.float32),
        ({"mps": True}, "mps", torch.bfloat16),
        ({"mps": True, "macos": 13}, "mps", torch.float32),
        ({}, "cpu", None),
    ],
)
def test_the_device_and_its_dtype_follow_from_what_is_there(machine, has: dict, device: str, dtype: torch.dtype | None):
    machine(**has)
    assert loading.device() == torch.device(device)
    assert dtype is None or loading.compute_dtype() == dtype


def test_attention_that_plans_each_shape_anew_is_off():
    assert not torch.backends.cuda.cudnn_sdp_enabled() and torch.backends.cuda.flash_sdp_enabled()


def test_a_person_overrules_the_dtype_on_apples_gpus_too(machine, monkeypatch: pytest.MonkeyPatch):
    machine(mps=True)
    monkeypatch.setenv("ASSAY_DTYPE", "float32")
    assert loading.compute_dtype() == torch.float32


def test_memory_of_an_apple_gpu_is_what_its_driver_holds_of_the_machines(machine, monkeypatch: pytest.MonkeyPatch):
    machine(mps=True)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 3_000_000_000)
    assert steps.peak_memory_gb(torch.device("mps")) == 3.0
    assert memory.machine_name() == "Apple GPU" and 0 < memory.available_memory() <= memory.total_memory()


def test_weights_that_lie_on_a_gpu_are_counted_as_room_by_a_plan_that_counts_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "available_memory", lambda processes: 7e9 / processes)
    on_gpu, elsewhere = (SimpleNamespace(nbytes=2_000_000_000, device=torch.device(kind)) for kind in ("cuda", "cpu"))
    model = SimpleNamespace(parameters=lambda: [on_gpu, on_gpu, elsewhere])
    assert memory.memory_around(model, 2) == 3.5e9 + 4e9


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_in_4_bits_multiplies_in_the_dtype_of_the_machine(dtype: torch.dtype):
    assert four_bits(dtype).bnb_4bit_compute_dtype == dtype
    layer = torch.nn.Linear(4, 3)
    layer.weight = torch.nn.Parameter(torch.zeros(6, 1, dtype=torch.uint8), requires_grad=False)
    layer.compute_dtype = dtype  # as bitsandbytes' layers have it
    freeze(layer, Factors(torch.ones(2, 4), torch.ones(3, 2)))
    assert layer.a.dtype == layer.b.dtype == dtype


@pytest.mark.parametrize("is_padded", [False, True])
def test_keys_are_repeated_where_no_kernel_takes_fewer_heads_of_them(monkeypatch: pytest.MonkeyPatch, is_padded: bool):
    """Without a mask alone: with one transformers repeats them itself."""
    model, ids = llama(num_key_value_heads=2), torch.arange(14).view(2, 7)
    mask = torch.ones_like(ids).index_fill(1, torch.tensor([5, 6]), 0) if is_padded else None
    of_torch, seen = F.scaled_dot_product_attention, []

    def attend(query, key, value, **options):
        seen.append((query.shape[1] == key.shape[1], options.get("enable_gqa", False)))
        return of_torch(query, key, value, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", attend)
    found = []
    for is_cuda in (False, True):
        monkeypatch.setattr(loading, "_is_grouped_float32", lambda *_, on_cuda=is_cuda: on_cuda)
        seen.clear()
        with torch.no_grad():
            found.append(model(input_ids=ids, attention_mask=mask).logits[:, :5])
        assert set(seen) == ({(True, False)} if is_cuda or is_padded else {(False, True)})
    torch.testing.assert_close(found[1], found[0])


class OfApple:
    """A tensor of a device that has no float64."""

    device = torch.device("mps")

    def cpu(self) -> torch.Tensor:
        return torch.tensor([1.0, 1e-9])

    def double(self) -> None:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64.")


def test_sums_in_float64_are_the_processors_where_the_device_has_none():
    of_apple = in_float64(OfApple())  # type: ignore[arg-type]
    assert of_apple.dtype == torch.float64 and float(of_apple.sum()) == pytest.approx(1 + 1e-9, abs=1e-12)
    assert in_float64(torch.tensor([0.5])).dtype == torch.float64
