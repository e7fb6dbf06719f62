"""Write a model folder as one GGUF file, for llama.cpp and what is built on it, by the `gguf` library of its authors.

The library writes the format, names the tensors and quantises; what is here is what it leaves to a converter: which
hyperparameter goes under which key, the order of rows that llama.cpp's rotary embedding expects, and the vocabulary.
Architectures: Llama (SmolLM, what `pretrain` makes), Mistral, Qwen 2 and 3. For others llama.cpp's own
convert_hf_to_gguf.py is the tool: it reads the same folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

from training.core.run_directory import RecipeFailure
from training.recipes.common import adapters

# model_type of transformers -> (GGUF architecture, whether its q and k rows are interleaved for rotary embedding)
ARCHITECTURES = {
    "llama": ("llama", True),
    "mistral": ("llama", True),
    "qwen2": ("qwen2", False),
    "qwen3": ("qwen3", False),
}
TYPES = {
    "float32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "float16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "bfloat16": (gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}


def write(folder: Path, target: Path, *, dtype: str, name: str, licence: str = "") -> int:
    """Return the number of tensors written. Raises RecipeFailure for a model that this cannot convert."""
    config = json.loads((adapters.base_folder(folder) / "config.json").read_text(encoding="utf-8"))
    architecture, interleaved = architecture_of(config)
    quantisation, file_type = TYPES[dtype]
    writer = gguf.GGUFWriter(target, architecture)
    writer.add_name(name)
    if licence:
        writer.add_license(licence)
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_hyperparameters(writer, config)
    _add_vocabulary(writer, folder, config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[architecture.upper()], config["num_hidden_layers"])
    count = 0
    for key, tensor in adapters.merged_state(folder):  # one after the other: it may be larger than memory
        if key == "lm_head.weight" and config.get("tie_word_embeddings"):
            continue
        heads = heads_of(key, config) if interleaved else 0
        add_tensor(writer, name_of(names, key), rotary_order(tensor, heads) if heads else tensor, quantisation)
        count += 1
    finish(writer)
    return count


def finish(writer: gguf.GGUFWriter) -> None:
    """Write the file of all that the writer was given."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def architecture_of(config: dict[str, Any]) -> tuple[str, bool]:
    kind = config.get("model_type", "")
    if kind not in ARCHITECTURES:
        raise RecipeFailure(
            "not_convertible",
            f"A model of type {kind!r} cannot be exported as GGUF; use {', '.join(ARCHITECTURES)}.",
            "Export it as safetensors, and convert that folder with llama.cpp's convert_hf_to_gguf.py.",
        )
    return ARCHITECTURES[kind]


def _add_hyperparameters(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    heads = config["num_attention_heads"]
    head_size = config.get("head_dim") or config["hidden_size"] // heads
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise RecipeFailure(
            "not_convertible",
            f"Its rotary embedding is scaled ({rope}), which GGUF export does not support.",
            "Export it as safetensors, and convert that folder with llama.cpp's convert_hf_to_gguf.py.",
        )
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    writer.add_rope_dimension_count(head_size)
    writer.add_rope_freq_base(float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def _add_vocabulary(writer: gguf.GGUFWriter, folder: Path, config: dict[str, Any]) -> None:
    """Add a byte-level BPE tokenizer as llama.cpp keeps it: tokens in order, what each is, and the merges."""
    stored = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    if stored["model"].get("type") != "BPE":
        raise RecipeFailure(
            "not_convertible",
            f"Its tokenizer is of type {stored['model'].get('type')}; only byte-level BPE can be exported.",
            "Export it as safetensors, and convert that folder with llama.cpp's convert_hf_to_gguf.py.",
        )
    by_id = {number: (token, gguf.TokenType.NORMAL) for token, number in stored["model"]["vocab"].items()}
    for added in stored["added_tokens"]:
        special = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
        by_id[added["id"]] = (added["content"], special)
    # The embedding may have more rows than there are tokens.
    unused = [(f"[PAD{i}]", gguf.TokenType.UNUSED) for i in range(config["vocab_size"])]
    tokens = [by_id.get(i, unused[i]) for i in range(config["vocab_size"])]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_splitting(stored["pre_tokenizer"]))
    writer.add_token_list([token for token, _ in tokens])
    writer.add_token_types([int(kind) for _, kind in tokens])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in stored["model"]["merges"]])
    _add_special_tokens(writer, folder, {token: number for number, (token, _) in by_id.items()})


def _add_special_tokens(writer: gguf.GGUFWriter, folder: Path, number_of: dict[str, int]) -> None:
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    for field, add in (
        ("bos_token", writer.add_bos_token_id),
        ("eos_token", writer.add_eos_token_id),
        ("pad_token", writer.add_pad_token_id),
        ("unk_token", writer.add_unk_token_id),
    ):
        token = settings.get(field)
        token = token["content"] if isinstance(token, dict) else token
        if token in number_of:
            add(number_of[token])
    writer.add_add_bos_token(False)  # the chat template writes what belongs at the beginning
    template = folder / "chat_template.jinja"
    if template.exists():
        writer.add_chat_template(template.read_text(encoding="utf-8"))
    elif settings.get("chat_template"):
        writer.add_chat_template(settings["chat_template"])


def _splitting(pre_tokenizer: dict[str, Any] | None) -> str:
    """Return llama.cpp's name for how text is cut before the merges. A wrong one would silently tokenise otherwise."""
    parts = (pre_tokenizer or {}).get("pretokenizers") or [pre_tokenizer or {}]
    kinds = [part.get("type") for part in parts]
    if kinds == ["ByteLevel"] and parts[0].get("use_regex", True):
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and parts[0].get("individual_digits"):
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and "\\p{N}{1,3}" not in str(parts[0]) and "\\p{N}|" in str(parts[0]):
        return "qwen2"
    raise RecipeFailure(
        "not_convertible",
        f"GGUF export does not support a tokenizer that splits text by {kinds}.",
        "Export it as safetensors, and convert that folder with llama.cpp's convert_hf_to_gguf.py.",
    )


def name_of(names: gguf.TensorNameMap, key: str) -> str:
    name = names.get_name(key, try_suffixes=(".weight", ".bias"))
    if name is None:
        raise RecipeFailure(
            "not_convertible", f"The weights {key} cannot be stored in a GGUF file.", "Export it as safetensors."
        )
    return name


def heads_of(key: str, config: dict[str, Any]) -> int:
    if ".q_proj." in key:
        return int(config["num_attention_heads"])
    if ".k_proj." in key:
        return int(config.get("num_key_value_heads") or config["num_attention_heads"])
    return 0


def rotary_order(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """Return the matrix in llama.cpp's order: transformers turns the halves of a head, llama.cpp neighbours: (heads, 2,
    half) becomes (heads, half, 2)."""
    half = tensor.shape[0] // heads // 2
    return tensor.reshape(heads, 2, half, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)


def add_tensor(
    writer: gguf.GGUFWriter, name: str, tensor: torch.Tensor, quantisation: gguf.GGMLQuantizationType
) -> None:
    """Add a tensor. Norms and biases stay in float32, as llama.cpp has them: they are small, and its kernels
    expect it."""
    values: np.ndarray = tensor.float().numpy()
    if values.ndim < 2:
        writer.add_tensor(name, values)
        return
    quantisation_used = _fitting(values, quantisation)
    writer.add_tensor(name, gguf.quants.quantize(values, quantisation_used), raw_dtype=quantisation_used)


def _fitting(values: np.ndarray, quantisation: gguf.GGMLQuantizationType) -> gguf.GGMLQuantizationType:
    """Return the quantisation that fits: a row that no block of 32 divides cannot be quantised."""
    fits = quantisation != gguf.GGMLQuantizationType.Q8_0 or values.shape[-1] % 32 == 0
    return quantisation if fits else gguf.GGMLQuantizationType.F16


def rounded(tensor: torch.Tensor, dtype: str) -> torch.Tensor:
    """Return a matrix as a file in this precision gives it back, float32."""
    values: np.ndarray = tensor.float().numpy()
    quantisation = _fitting(values, TYPES[dtype][0])
    return torch.from_numpy(
        gguf.quants.dequantize(gguf.quants.quantize(values, quantisation), quantisation).reshape(values.shape)
    )
