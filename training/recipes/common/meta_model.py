"""Build a model of a config on the meta device, where weights have shapes and no bytes, and count what it would take.

What `training.core.memory` computes from sizes is compared with these counts: every parameter that transformers makes,
the adapters that the recipes add, and each tensor that autograd keeps of a forward pass. An 8B takes a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM

from training.recipes.common.features import adapted_layers
from training.rl.lora import adapter_parameters, add_adapters

KERNEL = "assay_meta_kernel"  # transformers' name for the attention below


def build(config: Mapping[str, Any], dtype: torch.dtype = torch.bfloat16) -> Any:
    """Return the causal model of a transformers config, without weights."""
    fields = {name: value for name, value in config.items() if name != "model_type"}
    described = AutoConfig.for_model(config["model_type"], **fields)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(described, dtype=dtype)


def count_parameters(model: Any) -> int:
    """Return all parameters; a matrix that is both embedding and output counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def add_and_count_adapters(model: Any, adapters: str, rank: int) -> int:
    """Put the recipes' adapters on a model, in place, and return their parameters."""
    model.requires_grad_(False)
    add_adapters(iter(adapted_layers(model, adapters)), rank, 2.0 * rank, seed=0)
    return sum(parameter.numel() for parameter in adapter_parameters(model).values())


def kept_bytes(model: Any, rows: int, length: int) -> int:
    """Return the bytes that autograd keeps of one forward pass of the decoder, without its weights.

    Each storage counts once. Attention counts as a GPU's kernel keeps it: queries, keys, values and what it gives.
    """
    weights = {_storage(parameter) for parameter in model.parameters()}
    kept: dict[int, tuple[int, Tensor]] = {}

    def note(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in weights:
            kept[_storage(tensor)] = tensor.untyped_storage().nbytes(), tensor
        return tensor

    ids = torch.zeros(rows, length, dtype=torch.long, device=model.get_input_embeddings().weight.device)
    model.config._attn_implementation = KERNEL
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model.get_decoder()(input_ids=ids, attention_mask=None, position_ids=ids, use_cache=False)
    return sum(size for size, _ in kept.values())


class _Kernel(torch.autograd.Function):
    """Keep what a fused kernel of attention keeps; compute nothing."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        mixed = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, mixed)
        return mixed


def _attention(module: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> tuple[Tensor, None]:
    """Return attention's shape: query (B, Q, T, D), key and value (B, K, T, D) -> (B, T, Q, D)."""
    return _Kernel.apply(query, key, value).transpose(1, 2), None


AttentionInterface.register(KERNEL, _attention)


def _storage(tensor: Tensor) -> int:
    """Return what tells storages apart; on the meta device all addresses are 0."""
    return tensor.untyped_storage()._cdata
