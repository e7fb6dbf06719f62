"""Models with random weights in the shapes of known ones, and a tokenizer of as many words: for `benchmarks.gpu`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.memory_tables import MODELS

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "vocab_size": 320, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2,
    },
    "135M": {
        "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True,
    },
    "1B": MODELS["1B"],
    "8B": MODELS["8B"],
}  # fmt: skip
END, PAD, START = "<|im_end|>", "<|pad|>", "<|im_start|>"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_model(folder: Path, size: str) -> Path:
    """Write one into the folder, in bfloat16; made on the GPU where there is one."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    from training.recipes.common import loading

    shape = {name: value for name, value in SHAPES[size].items() if name != "model_type"}
    tokenizer = make_tokenizer(shape["vocab_size"])
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = LlamaConfig(**shape, **ends, bos_token_id=None, max_position_embeddings=4096)
    torch.manual_seed(0)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with loading.device():
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(usual)
    model.generation_config = GenerationConfig(do_sample=True, top_k=0, **ends)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_tokenizer(words: int) -> Any:
    """One token a byte, and names without texts for the rest of the vocabulary: whatever is drawn can be decoded."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [*alphabet, *(f"w{n}" for n in range(words - len(alphabet) - 3))]
    tokenizer = Tokenizer(models.BPE(vocab={name: n for n, name in enumerate(names)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, additional_special_tokens=[START]
    )
    fast.chat_template = TEMPLATE
    return fast
