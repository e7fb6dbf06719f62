"""Sizes of models that pretraining can make, from 1 million to 7 billion parameters, the vocabulary counted.

Widths and depths follow what was published where something was (Llama 3.2 at 1B and 3B, Llama at 7B, GPT-3's table at
100M and 350M); below, heads of 32 or 64 and feed-forward layers of 8/3 the width, as SwiGLU has them (Shazeer 2020).
Peak learning rates fall with the size as theirs do. Pure: forms and configs use it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """Hold the sizes of a named model. `vocabulary` is what the name counts on; a run counts its tokenizer's own."""

    name: str
    width: int
    layers: int
    heads: int
    key_heads: int
    feed_forward: int
    learning_rate: float
    vocabulary: int
    tied: bool = True  # input and output embeddings are one matrix


PRESETS = {
    preset.name: preset
    for preset in (
        Preset("1M", 128, 3, 4, 4, 352, 4e-3, 4096),
        Preset("3M", 192, 4, 6, 6, 512, 3e-3, 8192),
        Preset("10M", 320, 6, 5, 5, 896, 2e-3, 8192),
        Preset("30M", 448, 8, 7, 7, 1216, 1e-3, 16384),
        Preset("100M", 768, 11, 12, 12, 2048, 6e-4, 32768),
        Preset("350M", 1024, 24, 16, 16, 2816, 3e-4, 32768),
        Preset("1B", 2048, 16, 32, 8, 8192, 2e-4, 32768),
        Preset("3B", 3072, 28, 24, 8, 8192, 1.6e-4, 32768),
        Preset("7B", 4096, 32, 32, 32, 11008, 1.2e-4, 32768, tied=False),
    )
}


def parameters(preset: Preset, vocabulary: int, objective: str) -> int:
    """Return every weight of the model that `architectures.build` makes of it."""
    return _embeddings(preset, vocabulary, objective) + block_parameters(preset, objective)


def block_parameters(preset: Preset, objective: str) -> int:
    """Count the parameters without the embeddings and the output layer."""
    w, f = preset.width, preset.feed_forward
    if objective == "span":  # gated feed-forward, as T5 1.1 has it; half the blocks read, half write
        encoder, decoder = span_layers(preset)
        attention = 4 * w * w
        heads = 2 * 32 * preset.heads  # relative position buckets of either stack
        norms = 2 * encoder + 3 * decoder + 2
        return encoder * (attention + 3 * w * f) + decoder * (2 * attention + 3 * w * f) + norms * w + heads
    if objective == "masked":  # ModernBERT: gated feed-forward, no norm before the first attention, a dense head
        return preset.layers * (4 * w * w + 3 * w * f + 2 * w) - w + w + w * w + w + w
    keys = preset.key_heads * (w // preset.heads)
    return preset.layers * (2 * w * w + 2 * w * keys + 3 * w * f + 2 * w) + w


def span_layers(preset: Preset) -> tuple[int, int]:
    """Return blocks of the encoder and of the decoder: together about as many as the preset names."""
    return preset.layers - preset.layers // 2, max(preset.layers // 2, 1)


def _embeddings(preset: Preset, vocabulary: int, objective: str) -> int:
    tied = preset.tied or objective in ("span", "masked")
    return vocabulary * preset.width * (1 if tied else 2)
