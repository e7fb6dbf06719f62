"""Tables of memory for models of 1B, 8B and 70B: arithmetic beside the meta device, and stages on GPUs with 80 GB.

Shapes are those of Llama 3.2 1B, Llama 3.1 8B and 70B.
"""

from __future__ import annotations

from typing import Any

from training import configs
from training.core.memory.decoder_sizes import Decoder, decoder_of
from training.core.memory.fitting import GB, fits, process_memory
from training.core.memory.stage_memory import Hardware, StageMemory
from training.core.resource_estimate import token_bytes

Options = dict[str, Any]
GPU = 80 * GB
COUNTS = (1, 8, 64)
LLAMA = {"model_type": "llama", "vocab_size": 128256, "num_attention_heads": 32, "num_key_value_heads": 8}
MODELS: dict[str, Options] = {
    "1B": LLAMA
    | {"hidden_size": 2048, "num_hidden_layers": 16, "intermediate_size": 8192, "tie_word_embeddings": True},
    "8B": LLAMA
    | {"hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 14336, "tie_word_embeddings": False},
    "70B": LLAMA
    | {"hidden_size": 8192, "num_hidden_layers": 80, "intermediate_size": 28672, "num_attention_heads": 64}
    | {"tie_word_embeddings": False},
}
LONG = {"max_prompt_tokens": 1024, "max_completion_tokens": 1024}
EPISODES = {"reward_function": "a.b", "batch_size": 64, "max_prompt_tokens": 512, "max_new_tokens": 512}
STAGES: dict[str, tuple[str, Options]] = {
    "pretrain": ("pretrain", {"context_length": 4096, "batch_size": 256}),
    "SFT, full": ("sft", {"adapters": "full", "max_length": 4096, "batch_size": 64}),
    "SFT, LoRA": ("sft", {"adapters": "lora", "max_length": 4096, "batch_size": 64}),
    "DPO, full": ("dpo", {"adapters": "full", "batch_size": 64, **LONG}),
    "DPO, LoRA": ("dpo", {"adapters": "lora", "batch_size": 64, **LONG}),
    "reward head": ("reward", {"method": "head", "batch_size": 64, **LONG}),
    "reward, LoRA": ("reward", {"method": "finetune", "batch_size": 64, **LONG}),
    "PPO, full": ("ppo", {"adapters": "full", **EPISODES}),
    "PPO, LoRA": ("ppo", {"adapters": "lora", **EPISODES}),
    "PPO, top third": ("ppo", {"adapters": "top", **EPISODES}),
    "sample": ("sample", {"batch_size": 64, "max_new_tokens": 1024}),
}
# Settings that change what is at once and not what is learnt, those that cost least first.
SETTINGS: dict[str, list[Options]] = {
    "pretrain": [{}, {"activation_checkpointing": "on"}, {"activation_checkpointing": "on", "micro_batch_size": 1}],
    "sft": [{}, {"activation_checkpointing": "on"}],
    "dpo": [{}, {"activation_checkpointing": "on"}],
    "reward": [{}, {"batch_size": 8}, {"batch_size": 4}, {"batch_size": 1}],
    "ppo": [{}, {"minibatches": 16}, {"minibatches": 64}],
    "sample": [{}, {"batch_size": 8}],
}


def on_the_meta_device() -> str:
    """Return the table of counts: what transformers builds and autograd keeps, and what the arithmetic says."""
    from training.recipes.common import meta_model

    lines = [
        "| model | parameters, built | counted | LoRA of rank 8, built | counted | kept of a token, built | counted |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, config in MODELS.items():
        model, decoder = meta_model.build(config), _decoder(config)
        counted = decoder.layers * token_bytes(decoder.width, decoder.feed_forward, 2)
        kept = (meta_model.kept_bytes(model, 1, 512) - meta_model.kept_bytes(model, 1, 256)) / 256
        learnt = meta_model.add_and_count_adapters(model, "lora", 8), decoder.adapter_parameters(8, decoder.layers)
        lines.append(
            f"| {name} | {meta_model.count_parameters(model) - learnt[0]:,} | {decoder.parameters:,} "
            f"| {learnt[0]:,} | {learnt[1]:,} | {kept / 1e6:.2f} MB | {counted / 1e6:.2f} MB |"
        )
    return "\n".join(lines)


def of_stages() -> str:
    """Return a table for each model: GB of each GPU, and the settings with which it fits."""
    return "\n\n".join(f"{name}:\n\n{_table(_decoder(config))}" for name, config in MODELS.items())


def _table(decoder: Decoder) -> str:
    lines = [
        "| stage | one GPU, or each of several, not sharded | each of 8, sharded | each of 64, sharded |",
        "|---|---|---|---|",
    ]
    for stage in STAGES:
        lines.append(f"| {stage} | " + " | ".join(_cell(stage, decoder, count) for count in COUNTS) + " |")
    return "\n".join(lines)


def _cell(stage: str, decoder: Decoder, count: int) -> str:
    """Return the first settings that fit, else what the last would need."""
    kind, options = STAGES[stage]
    for settings in SETTINGS[kind]:
        rows = settings.get("batch_size", count) if kind == "reward" else count
        if rows < count:
            continue  # each process takes one row at least
        memory = _memory(kind, decoder, {**options, **settings}, count)
        if fits(memory.total, GPU):
            words = ", ".join(f"{name} {value}" for name, value in settings.items()) or "as it is"
            return f"{memory.total / 1e9:.0f} GB: {words}"
    return f"no: {memory.total / 1e9:,.0f} GB"


def _memory(kind: str, decoder: Decoder, options: Options, count: int) -> StageMemory:
    """Return what each of `count` GPUs holds; recipes plan their rows by the room that sharding leaves."""
    config = vars(configs.parse(kind, options))
    if "processes" in config and count > 1:
        config |= {"processes": count, "sharding": "full"}
    memory = process_memory(kind, decoder, config, Hardware("cuda", 2, GPU))
    assert memory is not None
    return memory


def _decoder(config: Options) -> Decoder:
    decoder = decoder_of(config)
    assert decoder is not None
    return decoder
