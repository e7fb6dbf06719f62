"""A random Llama of a few thousand weights, with a tokenizer: what the tests of PPO and sampling run on."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHARACTERS = "abcdefghijklmnopqrstuvwxyz .?!"
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}?{% endif %}"


def tokenizer() -> PreTrainedTokenizerFast:
    """One token per character; ids 0 and 1 are padding and end."""
    vocabulary = {"<pad>": 0, "<end>": 1, **{c: i + 2 for i, c in enumerate(CHARACTERS)}}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="a"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    made = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<end>", padding_side="left")
    made.chat_template = TEMPLATE
    return made


def llama(seed: int = 0, layers: int = 3, **config: object) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    settings = {
        "vocab_size": 32, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": layers,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "initializer_range": 0.3,
        "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None,
    }  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**{**settings, **config})).eval()


def folder(path: Path) -> Path:
    """A model folder as `loading.load_policy` reads it."""
    llama().save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path
