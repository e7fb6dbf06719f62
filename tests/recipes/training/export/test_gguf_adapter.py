"""A GGUF adapter holds the factors that PEFT's folder holds: read back, it makes the same update of the same layers."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from tests.recipes.training.export.test_recipe_export import CARD, made, shape, tokenizer  # noqa: F401
from tests.support.training import adapter_children
from training.core.run_directory import RunDirectory, RunSpec
from training.recipes.common import adapters, entry
from training.recipes.export import __main__ as export
from training.rl.factors import Factors


def exported(folder: Path, parent: Path, **config) -> RunDirectory:
    run = RunDirectory(folder / "run")
    run.create(RunSpec("export", {"to": "gguf", "adapter": True, **config}, parent=str(parent)), {"card": iter([CARD])})
    assert entry.attempt(export.main, run) == 0, run.failure()
    return run


def read(run: RunDirectory) -> tuple[gguf.GGUFReader, dict[str, np.ndarray]]:
    reader = gguf.GGUFReader(run.path / "export" / run.result()["files"][0]["name"])
    tensors = {}
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        tensors[tensor.name] = values.reshape([int(size) for size in reversed(tensor.shape)])
    return reader, tensors


def value(reader: gguf.GGUFReader, key: str):
    return reader.fields[key].contents()


def rotated_back(matrix: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's order of rows back to transformers'."""
    half = matrix.shape[0] // heads // 2
    return matrix.reshape(heads, half, 2, -1).swapaxes(1, 2).reshape(matrix.shape)


@pytest.fixture(params=["llama", "qwen3"])
def parent(request, tmp_path, tokenizer) -> Path:  # noqa: F811
    kinds = {"llama": (LlamaForCausalLM, LlamaConfig), "qwen3": (Qwen3ForCausalLM, Qwen3Config)}
    model, config = kinds[request.param]
    base = made(model, config(**shape(tokenizer)), tokenizer, tmp_path / "base")
    adapter_children.child(base, tmp_path / "child", size=0.1)
    return tmp_path / "child"


@pytest.mark.parametrize(("precision", "near"), [("auto", 0.0), ("bfloat16", 1e-2), ("float16", 1e-3)])
def test_the_file_makes_the_same_update_of_each_layer(parent, tmp_path, precision, near):
    run = exported(tmp_path, parent, precision=precision)
    reader, tensors = read(run)
    assert value(reader, "general.type") == "adapter" and value(reader, "adapter.type") == "lora"
    config = json.loads((adapters.base_folder(parent) / "config.json").read_text())
    interleaved = value(reader, "general.architecture") == "llama"
    alpha = value(reader, "adapter.lora.alpha")
    update = adapters.read_adapter(parent)
    assert len(tensors) == 2 * len(update)
    names = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }  # fmt: skip
    for layer, factors in update.items():
        _, _, number, part = layer.split(".", 3)
        place = f"blk.{number}.{names[part]}.weight"
        a, b = tensors[f"{place}.lora_a"], tensors[f"{place}.lora_b"]
        assert a.shape == tuple(factors.a.shape) and b.shape == tuple(factors.b.shape)
        product = (b @ a) * (alpha / b.shape[1])  # as llama.cpp scales it
        if interleaved and part.endswith(("q_proj", "k_proj")):
            count = config["num_attention_heads" if part.endswith("q_proj") else "num_key_value_heads"]
            product = rotated_back(product, count)
        trained = factors.product().numpy()
        assert np.abs(product - trained).max() <= near * np.abs(trained).max() + 1e-6
    told = run.result()["fidelity"]
    assert told["cosine"] == pytest.approx(1, abs=1e-4)
    assert run.result()["files"][0]["name"].endswith(f"-adapter-{told['precision']}.gguf")


def test_layers_of_different_rank_keep_their_scale(tmp_path, tokenizer):  # noqa: F811
    base = made(LlamaForCausalLM, LlamaConfig(**shape(tokenizer)), tokenizer, tmp_path / "base")
    generator = torch.Generator().manual_seed(0)

    def factors(rank: int, out: int) -> Factors:
        size = shape(tokenizer)["hidden_size"]
        return Factors(torch.randn(rank, size, generator=generator), torch.randn(out, rank, generator=generator))

    up = shape(tokenizer)["intermediate_size"]
    update = {"model.layers.0.mlp.up_proj": factors(2, up), "model.layers.0.mlp.gate_proj": factors(6, up)}
    child = tmp_path / "child"
    adapters.write_adapter(child, update, adapters.Base(base, ""), torch.float32)
    (child / "config.json").write_text((base / "config.json").read_text())
    reader, tensors = read(exported(tmp_path, child))
    for part, place in (("up_proj", "ffn_up"), ("gate_proj", "ffn_gate")):
        a, b = (tensors[f"blk.0.{place}.weight.lora_{which}"] for which in "ab")
        scaled = (b @ a) * (value(reader, "adapter.lora.alpha") / b.shape[1])
        np.testing.assert_allclose(scaled, update[f"model.layers.0.mlp.{part}"].product().numpy(), atol=1e-4)


def test_full_weights_have_no_adapter_to_leave(tmp_path, tokenizer):  # noqa: F811
    base = made(LlamaForCausalLM, LlamaConfig(**shape(tokenizer)), tokenizer, tmp_path / "base")
    run = RunDirectory(tmp_path / "run")
    run.create(RunSpec("export", {"to": "gguf", "adapter": True}, parent=str(base)), {"card": iter([CARD])})
    assert entry.attempt(export.main, run) != 0
    assert run.failure()["code"] == "no_adapter"
