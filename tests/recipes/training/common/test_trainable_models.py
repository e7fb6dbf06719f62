"""What an order is refused for by config.json is what a recipe finds of the model itself."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from training.core.file_checks import trainable
from training.recipes.common.features import decoder_layers
from training.rl.logprobs import logits_are_products
from training.rl.lora import add_adapters
from training.rl.trunk import cut_agrees

SIZES = {"vocab_size": 97, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SIZES |= {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 64}
LLAMA = SIZES | {"intermediate_size": 48, "num_key_value_heads": 2}
OLD = {"vocab_size": 97, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64, "rotary_dim": 8}
MODELS = {
    "llama": LLAMA,
    "qwen2": LLAMA | {"sliding_window": 32, "use_sliding_window": False},
    "qwen3": LLAMA | {"head_dim": 8},
    "mistral": LLAMA | {"sliding_window": 32},
    "gemma": LLAMA | {"head_dim": 8},
    "gemma2": LLAMA | {"head_dim": 8, "final_logit_softcapping": 0.5},
    "phi3": LLAMA | {"sliding_window": None},
    "granite": LLAMA,
    "olmo2": LLAMA,
    "starcoder2": LLAMA | {"sliding_window": None},
    "phi": SIZES | {"intermediate_size": 48},
    "gpt_neox": SIZES | {"intermediate_size": 48},
    "opt": SIZES | {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "bloom": {"vocab_size": 97, "hidden_size": 32, "n_layer": 3, "n_head": 4},
    "falcon": SIZES,
    "gpt2": OLD,
    "gptj": OLD,
    "codegen": OLD,
}


@pytest.mark.parametrize("name", MODELS)
def test_the_table_says_what_the_model_says(name):
    torch.manual_seed(4)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **MODELS[name])).eval()
    with torch.no_grad():  # of freshly made models biases are 0 and logits far below any cap
        for parameter in model.parameters():
            parameter.mul_(4).add_(0.02 * torch.randn_like(parameter))
    described = json.loads(model.config.to_json_string())
    assert trainable.has_plain_logits(described) == logits_are_products(model)
    assert trainable.can_be_cut(described) == cut_agrees(model, 2)
    if trainable.has_linear_layers(described):
        add_adapters(decoder_layers(model), 2, 4.0, seed=0)
        return
    with pytest.raises(ValueError, match="no linear layer"):
        add_adapters(decoder_layers(model), 2, 4.0, seed=0)
