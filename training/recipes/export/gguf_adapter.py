"""Write an adapter alone as a GGUF file, which llama.cpp lays over the base's GGUF file: `llama-server --lora FILE`.

The layout is that of llama.cpp's convert_lora_to_gguf.py: general.type = adapter, adapter.type = lora, and for each
layer blk.N.NAME.weight.lora_a (r, in) and .lora_b (out, r). llama.cpp multiplies b @ a by adapter.lora.alpha / r, with
one alpha for all layers. Ours have their scaling in b already: so alpha is the largest rank, and b of a layer of lower
rank is made smaller by as much as llama.cpp makes it larger. Rows of q and k are in llama.cpp's rotary order, as in
the base's file.
"""

from __future__ import annotations

import json
from pathlib import Path

import gguf

from training.core.run_directory import RecipeFailure
from training.recipes.common import adapters
from training.recipes.export import gguf_file, merging
from training.rl.factors import Factors


def write(folder: Path, target: Path, *, dtype: str, name: str, licence: str = "") -> float:
    """Write the adapter in `folder`, and return the cosine of the update in the file to the trained one.

    Raises RecipeFailure for a base that cannot be a GGUF file here."""
    config = json.loads((adapters.base_folder(folder) / "config.json").read_text(encoding="utf-8"))
    architecture, interleaved = gguf_file.architecture_of(config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[architecture.upper()], config["num_hidden_layers"])
    update = adapters.read_adapter(folder)
    alpha = max(factors.rank for factors in update.values())
    writer = gguf.GGUFWriter(target, architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_name(name)
    if licence:
        writer.add_license(licence)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(alpha))
    writer.add_file_type(gguf_file.TYPES[dtype][1])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    cosine = merging.Cosine()
    for layer, factors in update.items():
        key = f"{layer}.weight"
        heads = gguf_file.heads_of(key, config) if interleaved else 0
        stored = _stored(factors, alpha, heads)
        place = gguf_file.name_of(names, key)
        gguf_file.add_tensor(writer, f"{place}.lora_a", stored.a, gguf_file.TYPES[dtype][0])
        gguf_file.add_tensor(writer, f"{place}.lora_b", stored.b, gguf_file.TYPES[dtype][0])
        cosine.note(stored.product(), gguf_file.rounded(stored.b, dtype) @ gguf_file.rounded(stored.a, dtype))
    gguf_file.finish(writer)
    return cosine.value


def require_adapter(folder: Path, name: str) -> None:
    """Raises RecipeFailure for a model that has weights of its own."""
    if not adapters.is_adapter(folder):
        raise RecipeFailure(
            "no_adapter", f"{name} has weights of its own and no adapter.", "Export it with adapter off."
        )


def _stored(factors: Factors, alpha: int, heads: int) -> Factors:
    b = factors.b.float() * (factors.rank / alpha)
    return Factors(factors.a.float(), gguf_file.rotary_order(b, heads) if heads else b)
