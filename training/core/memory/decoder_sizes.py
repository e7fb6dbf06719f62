"""Read the sizes of a decoder from its config.json, and count what depends on them: parameters, adapters, cache.

The counts are those of the model that transformers builds of the config; tests build it on the meta device and compare
(`training.recipes.common.meta_model`). Knows no torch: forms show what it counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from training.configs.presets import PRESETS
from training.core.adapter_base import is_adapter
from training.core.batch_planner import Shape
from training.core.file_checks.trainable import config_of_folder, has_plain_logits, text_config

_WITH_TWO_MATRICES = ("gpt2", "gpt_neox", "opt", "phi", "bloom", "falcon", "gptj", "gpt_neo", "starcoder2")
_WITH_QKV_BIAS = ("qwen2",)
_WITH_HEAD_NORMS = ("qwen3",)


@dataclass(frozen=True)
class Decoder:
    """Hold the sizes of a decoder. `parameters` of it are all; `block` one layer's; `linear` those of its products."""

    width: int
    layers: int
    heads: int
    key_heads: int
    head_dim: int
    feed_forward: int
    vocabulary: int
    parameters: int
    block: int
    linear: int
    linear_ends: int  # inputs and outputs of a block's linear layers, summed: adapters of rank 1
    is_exact: bool = True  # False: a common model of about that size
    reads_states: bool = True  # False: its logits have a bias or a cap, and are more than products of its last states

    def adapter_parameters(self, rank: int, layers: int) -> int:
        """Return the parameters of LoRA on every linear layer of so many blocks."""
        return rank * self.linear_ends * layers

    def cache_bytes(self, tokens: float, dtype_bytes: int) -> float:
        """Return the bytes of keys and values of so many tokens."""
        return 2 * self.layers * self.key_heads * self.head_dim * tokens * dtype_bytes

    def shape(self, layers: int, dtype_bytes: int, *, packed: bool) -> Shape:
        """Return the shape whose activations are counted, of so many layers with gradients."""
        return Shape(
            layers, self.width, self.feed_forward, self.heads, self.key_heads, self.head_dim, dtype_bytes, packed
        )


def decoder_of(config: Mapping[str, Any], parameters: int | None = None) -> Decoder | None:
    """Return the sizes that a transformers config tells; None where it describes no decoder.

    `parameters`, where they are known, count for more than the formula: it is exact for layers like Llama's.
    """
    config = text_config(config)
    width, layers = _first(config, "hidden_size", "n_embd"), _first(config, "num_hidden_layers", "n_layer")
    heads, vocabulary = _first(config, "num_attention_heads", "n_head"), _first(config, "vocab_size")
    if not (width and layers and heads and vocabulary):
        return None
    kind = config.get("model_type", "")
    key_heads = _first(config, "num_key_value_heads") or heads
    head_dim = _first(config, "head_dim") or width // heads
    inner = _first(config, "intermediate_size", "n_inner") or 4 * width
    gates = 1 if kind in _WITH_TWO_MATRICES else 2
    queries, keys = heads * head_dim, key_heads * head_dim
    linear = 2 * width * queries + 2 * width * keys + (gates + 1) * width * inner
    block = linear + 2 * width
    block += (queries + 2 * keys) * (kind in _WITH_QKV_BIAS) + 2 * head_dim * (kind in _WITH_HEAD_NORMS)
    ends = 2 * (width + queries) + 2 * (width + keys) + (gates + 1) * (width + inner)
    embeddings = vocabulary * width * (1 if config.get("tie_word_embeddings") else 2)
    total = parameters or embeddings + layers * block + width
    return Decoder(
        width, layers, heads, key_heads, head_dim, inner, vocabulary, total, block, linear, ends,
        reads_states=has_plain_logits(config),
    )  # fmt: skip


def decoder_of_folder(folder: Path | None, parameters: int | None = None) -> Decoder | None:
    """Return the sizes of the model in a folder, an adapter's base included; of a common model with so many
    `parameters` where the folder is not on this machine; None where neither tells anything."""
    try:
        if folder and (config := config_of_folder(folder)) is not None:
            return decoder_of(config, None if is_adapter(folder) else parameters)
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return common_decoder(parameters) if parameters else None


def common_decoder(parameters: int) -> Decoder | None:
    """Return the sizes of a common decoder with about so many parameters; None below the smallest."""
    nearest = min(_COMMON, key=lambda known: max(known.parameters / parameters, parameters / known.parameters))
    ratio = parameters / nearest.parameters
    if not 0.4 < ratio < 2.5:
        return None
    return replace(nearest, parameters=parameters, is_exact=False)


def _first(config: Mapping[str, Any], *names: str) -> int:
    """Return the first of these that is a number; 0 where none is."""
    return next((value for name in names if isinstance(value := config.get(name), int) and value > 0), 0)


def _common() -> list[Decoder]:
    rows = [(p.width, p.layers, p.heads, p.key_heads, p.feed_forward, p.vocabulary, p.tied) for p in PRESETS.values()]
    rows += [
        (576, 30, 9, 3, 1536, 49152, True),  # SmolLM2 135M
        (4096, 32, 32, 8, 14336, 128256, False),  # Llama 3.1 8B
        (5120, 40, 40, 8, 17408, 151936, False),  # Qwen3 14B
        (5120, 64, 64, 8, 25600, 151936, False),  # Qwen3 32B
        (8192, 80, 64, 8, 28672, 128256, False),  # Llama 3.1 70B
    ]
    names = (
        *("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
        *("intermediate_size", "vocab_size", "tie_word_embeddings"),
    )
    return [known for row in rows if (known := decoder_of(dict(zip(names, row, strict=True))))]


_COMMON = _common()
