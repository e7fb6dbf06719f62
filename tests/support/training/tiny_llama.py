"""A random Llama of a few thousand weights: what the tests of PPO's parts run on."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def llama(seed: int = 0, layers: int = 3, **config: object) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    settings = {
        "vocab_size": 32, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": layers,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "initializer_range": 0.3,
        "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None,
    }  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**{**settings, **config})).eval()
